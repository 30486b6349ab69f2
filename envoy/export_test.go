package envoy

// Replace is Config for another text.
func Replace(text string, p Ports) ([]byte, error) { return replace(text, p) }
