"""The web page: what `python app.py` opens. Needs the extra `web`, which brings gradio."""
