package extauthz

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// newDecisionID writes a random UUID (RFC 9562, version 4) into room, where it
// must stay. It is a name to find a decision by, not a secret; math/rand/v2's
// global generator is ChaCha8 with a random seed, and takes no lock.
func newDecisionID(s *[36]byte) string {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:8], rand.Uint64()) // #nosec G404 -- no secret, as above
	binary.NativeEndian.PutUint64(b[8:], rand.Uint64()) // #nosec G404 -- no secret, as above
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	hex.Encode(s[:8], b[:4])
	hex.Encode(s[9:13], b[4:6])
	hex.Encode(s[14:18], b[6:8])
	hex.Encode(s[19:23], b[8:10])
	hex.Encode(s[24:], b[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return text(s[:])
}
