package plainpath

import "strings"

// Segments returns a path's decoded segments as they are when everything was
// done to them that servers do: parameters, dots and spaces at the end, and the
// extensions of the last segment are gone, and case is folded. Nothing of that
// would change the result once more. Segments that nothing is left of are gone
// too, but for a last one: it is the slash at the end, and the extensions are
// those of the segment before it.
//
// It is for denials: several paths of one server can have the same segments.
// The cost is linear, and segments that are plain already are returned as they
// are.
func Segments(segments []string) []string {
	if isPlain(segments) {
		return segments
	}
	plain := make([]string, 0, len(segments))
	for i, s := range segments {
		s, _, _ = strings.Cut(s, ";")
		if s = trim(s); s != "" || i == len(segments)-1 {
			plain = append(plain, Fold(s))
		}
	}
	return dropExtensions(plain)
}

// dropExtensions drops those of the last segment. Where nothing is left of it,
// it is the slash at the end, and the segment before is the last one.
func dropExtensions(segments []string) []string {
	for {
		last := len(segments) - 1
		slash := last > 0 && segments[last] == ""
		if slash {
			last--
		}
		segments[last] = withoutExtensions(segments[last])
		if segments[last] != "" || last == 0 && !slash {
			return segments
		}
		if slash {
			segments = segments[:last+1]
		}
	}
}

// isPlain is for most paths.
func isPlain(segments []string) bool {
	if len(segments) == 0 {
		return true
	}
	for i, s := range segments {
		if s == "" && i < len(segments)-1 || strings.IndexByte(s, ';') >= 0 || trim(s) != s || !IsFolded(s) {
			return false
		}
	}
	last := len(segments) - 1
	if last > 0 && segments[last] == "" {
		last--
	}
	return strings.IndexByte(segments[last], '.') < 0
}

// trim drops what Windows drops at the end of a name.
func trim(s string) string { return strings.TrimRight(s, ". ") }

func withoutExtensions(s string) string {
	for {
		dot := strings.LastIndexByte(s, '.')
		if dot < 0 {
			return s
		}
		s = trim(s[:dot])
	}
}
