curl -G -d q=1 --data-urlencode "name=a b&c" -u user:secret "localhost/search?p=2"
