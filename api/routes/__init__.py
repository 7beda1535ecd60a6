"""The cold routes: ordinary FastAPI, one file a subject. Adding one: its module here and in app.py's ROUTERS."""
