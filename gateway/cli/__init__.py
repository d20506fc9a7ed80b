"""The sluicegate command: thin functions that call the library and print."""
