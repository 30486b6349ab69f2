package tenants

import (
	"fmt"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/httpfield"
)

// Why tells what of a request selects its tenant: all that name one, since
// they have to agree. It is of use where Select returned a tenant.
func (d *Directory) Why(extensions []httpfield.Field, h Headers, host string) string {
	if d.single {
		return "the only one: every request belongs to it"
	}
	var by []string
	if _, ok := d.pinned(extensions); ok {
		by = append(by, "the context extension "+d.extension)
	}
	if d.header != "" {
		if _, lines := h.Get(d.header); lines > 0 {
			by = append(by, "the header "+d.header)
		}
	}
	if owner := d.byHost(host); owner != nil {
		by = append(by, "the host "+host)
	}
	if len(by) == 0 {
		return "the default: neither extension nor header nor host selects one"
	}
	return "by " + strings.Join(by, " and ")
}

// HowTo tells how a request can select a tenant of this directory.
func (d *Directory) HowTo() string {
	var ways []string
	if d.header != "" {
		ways = append(ways, "send the header "+d.header)
	}
	if d.extension != "" {
		ways = append(ways, "pin the context extension "+d.extension+" in Envoy's route")
	}
	if len(d.exact)+len(d.wild) > 0 {
		ways = append(ways, "ask for a host of a tenant")
	}
	const most = 6
	var ids []string
	for _, t := range d.list[:min(most, len(d.list))] {
		ids = append(ids, t.ID)
	}
	list := strings.Join(ids, ", ")
	if more := len(d.list) - most; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	if len(ways) == 0 {
		return "nothing can select one; the tenants are " + list
	}
	return strings.Join(ways, ", or ") + "; the tenants are " + list
}
