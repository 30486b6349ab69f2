package plainpath_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/ussoio/ussoauthz/pkg/plainpath"
)

func TestFold(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "admin": "admin", "ADMIN": "admin", "\u212aEY": "key", "a\u017f\u017fets": "assets",
		"CAFÉ": "café", "ΜΕΝΟΎ": "μενού", "\u00b5": "μ", "ß": "ß", "ẞ": "ß", "ΟΔΟΣ": "οδοσ", "οδος": "οδοσ",
		"İ": "i", "ADMıN": "admin", "\xff\xc3A": "\xff\xc3a",
	} {
		if got := plainpath.Fold(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// dotless makes an i of the letters that EqualFold takes for no other.
func dotless(s string) string { return strings.NewReplacer("İ", "i", "ı", "i").Replace(s) }

// Runes that a program which maps letter by letter makes one are one.
func TestFoldIsLowerAndUpper(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		of := plainpath.Fold(string(r))
		for _, other := range []rune{unicode.ToLower(r), unicode.ToUpper(r), unicode.ToTitle(r)} {
			if got := plainpath.Fold(string(other)); utf8.ValidRune(r) && got != of {
				t.Errorf("%U folds to %q, and its other case %U to %q", r, of, other, got)
			}
		}
	}
}

// Every rune folds as strings.EqualFold compares it, and only so; but for "İ" and "ı".
func TestFoldIsEqualFold(t *testing.T) {
	classes := map[string]rune{}
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		s := dotless(string(r))
		folded := plainpath.Fold(s)
		if !strings.EqualFold(s, folded) || plainpath.Fold(folded) != folded || plainpath.IsFolded(s) != (folded == s) {
			t.Fatalf("%U folds to %q", r, folded)
		}
		if first, ok := classes[folded]; !ok {
			classes[folded] = r
		} else if !strings.EqualFold(s, string(first)) {
			t.Fatalf("%U and %U are one", r, first)
		}
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			if plainpath.Fold(string(other)) != folded {
				t.Fatalf("%U and %U are equal, and fold to %q and %q", r, other, folded, plainpath.Fold(string(other)))
			}
		}
	}
}

func FuzzFold(f *testing.F) {
	f.Add("Admin", "admin")
	f.Add("\u212a\xff", "k\xff")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := plainpath.Fold(a), plainpath.Fold(b)
		if utf8.ValidString(a) && utf8.ValidString(b) && (x == y) != strings.EqualFold(dotless(a), dotless(b)) {
			t.Fatalf("%q and %q", a, b)
		}
		if plainpath.Fold(x) != x || plainpath.IsFolded(a) != (x == a) {
			t.Fatalf("%q folds to %q", a, x)
		}
	})
}
