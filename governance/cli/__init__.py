"""Commands of governance: thin functions that call the library and print."""
