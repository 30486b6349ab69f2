curl 'https://api.acme.example/posts/42' \
-X 'DELETE' \
-H 'Accept: */*' \
-H 'Authorization: Bearer a.b.c' \
-H 'User-Agent: Mozilla/5.0 (Macintosh)' \
-H 'Content-Length: 0'
