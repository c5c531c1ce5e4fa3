"""The local page of `uniwav demo`; only `demo.page` needs gradio."""
