package httpfield

// SameName tells whether two names in lower case reach a server as one: those in
// the CGI tradition read X_Org as X-Org, and some of them (PHP, lighttpd) every
// sign as "_".
func SameName(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && (isAlphanumeric(a[i]) || isAlphanumeric(b[i])) {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
