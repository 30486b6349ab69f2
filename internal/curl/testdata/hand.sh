curl -sS -vk -XPUT -H"X-Tenant-ID: acme" -H X-Empty\; -H 'Accept:' --json '{"a": 1}' -o /dev/null http://127.0.0.1:8080/a/../b/./c?x=1#top
