package tenants

import "github.com/ussoio/ussoauthz/pkg/httpfield"

// Header is one line of a request's header block; its name is lower-case.
type Header = httpfield.Field

// Headers is a request's header block in the order of arrival; a name may
// stand in it more than once.
type Headers []Header

// Get returns the first value of the lower-case name and how many lines have
// that name: a caller that takes the value alone would miss a second line.
func (h Headers) Get(name string) (value string, lines int) {
	for i := range h {
		if h[i].Name != name {
			continue
		}
		if lines == 0 {
			value = h[i].Value
		}
		lines++
	}
	return value, lines
}
