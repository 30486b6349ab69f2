package jwks

import "time"

// EncodeStored and DecodeStored write and read the file format of a KeyStore.
func EncodeStored(origin string, at int64, body []byte) []byte {
	return encodeStored(origin, storedSet{time.Unix(at, 0), body})
}

func DecodeStored(text []byte, origin string) (at int64, body []byte, err error) {
	set, err := decodeStored(text, origin)
	if err != nil {
		return 0, nil, err
	}
	return set.confirmed.Unix(), set.body, nil
}

// ReadStored reads a file of a KeyStore.
func ReadStored(name, origin string) error {
	_, err := readStored(name, origin)
	return err
}

// Restores reports whether a source starts with a stored set.
func Restores(at time.Time, body []byte, maxStale time.Duration) bool {
	s := &source{cfg: RemoteConfig{TTL: time.Minute, MaxStale: maxStale}}
	return s.restore(&storedSet{confirmed: at, body: body}) != nil
}
