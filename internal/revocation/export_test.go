package revocation

// Sweep lets go of what has expired, as the clock says.
func (l *List) Sweep() { l.sweep() }
