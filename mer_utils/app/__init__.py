"""A page for songs: drop them, ask for words, listen along the curve (`make app`, docs/app.md).

`songs` has what the page says of a song, `page` the widgets and the server, on 127.0.0.1 only.
"""

from mer_utils.app.page import serve
