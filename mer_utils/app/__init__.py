"""A page for songs: drop them, type words, listen along the curve (`make app`, docs/app.md).

`songs` has what the page says of a song, `page` the widgets and the server. Nothing leaves the
machine: the server answers on 127.0.0.1 only, and uploads lie in a folder that goes with the visit.
"""

from mer_utils.app.page import serve
