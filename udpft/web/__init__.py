"""Page of udpft in a browser: files, sums, messages, transfers, measurements and reports.

Theory of operation
-------------------
Every page is whole before any script runs: plain forms, each answered by a redirection (303), so
that reloading a page repeats nothing. The script shows what changes meanwhile: the server sends the
same pieces of HTML again over one connection (`live`), and the script puts them in place.

Whoever has the token may do what the commands do on this machine; nobody else sees anything. See
`access` for what keeps other pages of the same browser out. Work is done in threads (`transfers`),
by the library's `Client`; the loop of the HTTP server waits for none of them.
"""
