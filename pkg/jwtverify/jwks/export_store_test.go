package jwks

import "time"

// SealKept and ParseKept are what a KeyStore writes and reads.
func SealKept(origin string, at int64, body []byte) []byte {
	return sealKept(origin, kept{time.Unix(at, 0), body})
}

func ParseKept(text []byte, origin string) (at int64, body []byte, err error) {
	k, err := parseKept(text, origin)
	if err != nil {
		return 0, nil, err
	}
	return k.confirmed.Unix(), k.body, nil
}

// ReadKept reads a file of a KeyStore.
func ReadKept(name, origin string) error {
	_, err := readKept(name, origin)
	return err
}

// Restores reports whether a source begins with what was kept.
func Restores(at time.Time, body []byte, maxStale time.Duration) bool {
	s := &source{cfg: RemoteConfig{TTL: time.Minute, MaxStale: maxStale}}
	return s.restore(&kept{confirmed: at, body: body}) != nil
}
