"""`sluicegate train`."""
