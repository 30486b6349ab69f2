package extauthz_test

import (
	"bytes"
	"testing"

	"golang.org/x/net/http/httpguts"

	"github.com/ussoio/ussoauthz/pkg/extauthz"
)

// Every byte, at every place of values of every length up to three words, among
// neighbours that carry into it or borrow from it.
func TestValidValue(t *testing.T) {
	for _, filler := range []byte{' ', '!', 'a', '~', 0x80, 0xff} {
		for size := range 25 {
			for at := range size {
				for c := range 256 {
					b := bytes.Repeat([]byte{filler}, size)
					b[at] = byte(c)
					if got, want := extauthz.ValidValue(string(b)), httpguts.ValidHeaderFieldValue(string(b)); got != want {
						t.Fatalf("%q: %t, want %t", b, got, want)
					}
				}
			}
		}
	}
	if !extauthz.ValidValue("") {
		t.Error("no value at all is refused")
	}
}

func BenchmarkValidValue(b *testing.B) {
	value := string(bytes.Repeat([]byte{'a'}, 8<<10))
	b.SetBytes(int64(len(value)))
	for b.Loop() {
		if !extauthz.ValidValue(value) {
			b.Fatal("refused")
		}
	}
}
