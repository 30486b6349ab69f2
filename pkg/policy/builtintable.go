package policy

import (
	_ "embed"
	"strings"
	"sync"
)

// builtinClass says what a call of a builtin takes when a client chose the
// arguments, as the sweep measured it (sweep_test.go).
type builtinClass string

const (
	classLinear   builtinClass = "linear"   // the time of reading its arguments, or little more
	classBounded  builtinClass = "bounded"  // the same, since limits refuses or replaces what takes longer
	classBeside   builtinClass = "beside"   // longer, but bounded: evaluated beside the request
	classWithheld builtinClass = "withheld" // no policy gets it, or only with policy.allow_net
)

// builtinTable has a line for each builtin of this OPA: its name, its class, and
// the arguments that took longest. The sweep writes it; do not edit it.
//
//go:embed testdata/builtins.tsv
var builtinTable string

// builtinClasses is the table by name. A builtin that is not in it, as a later
// OPA may bring, is of no class.
var builtinClasses = sync.OnceValue(func() map[string]builtinClass {
	classes := map[string]builtinClass{}
	for line := range strings.Lines(builtinTable) {
		if fields := strings.Split(strings.TrimSpace(line), "\t"); len(fields) >= 2 && line[0] != '#' {
			classes[fields[0]] = builtinClass(fields[1])
		}
	}
	return classes
})

// slowBuiltin tells whether a call may outlive the time of its evaluation by
// much: it fails closed for what was not swept. What reaches the network looks
// at the time limit itself.
func slowBuiltin(name string) bool {
	class := builtinClasses()[name]
	return class != classLinear && class != classBounded && !networkBuiltin(name)
}
