package revocation

// Sweep lets go of what has expired, as the clock says.
func (l *List) Sweep() { l.sweep() }

// Followed is how far an answer was followed.
type Followed struct {
	Depth, Bytes, Elements, Skip int
	Error                        string
}

// Follow follows a server's answers in pieces of a length.
func Follow(text []byte, piece int) Followed {
	var a answer
	for len(text) > 0 && a.err == nil {
		n := min(piece, len(text))
		_ = a.consume(text[:n]) // it is kept
		text = text[n:]
	}
	f := Followed{Depth: len(a.open), Bytes: a.bytes, Elements: a.elements, Skip: a.skip}
	if a.err != nil {
		return Followed{Error: a.err.Error()}
	}
	return f
}
