"""Labels from a large model behind any endpoint that speaks OpenAI's chat completions."""
