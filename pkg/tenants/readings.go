package tenants

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/ussoio/ussoauthz/pkg/plainpath"
)

// Readings are what servers commonly do to a path before they route it. Of a
// set of them a server may do any.
type Readings uint8

// The readings.
const (
	SlashReading      Readings = 1 << iota // ignores a slash at the end (Express, older Spring)
	ParametersReading                      // drops ";name=value" of each segment (servlet containers)
	CaseReading                            // ignores case (Express, IIS)
	ExtensionReading                       // drops ".json" of the last segment (Rails, older Spring)
	TrailingReading                        // drops dots and spaces at the end of segments (Windows)

	AllReadings = SlashReading | ParametersReading | CaseReading | ExtensionReading | TrailingReading
)

// readingNames are the names of the configuration, and what a server with the
// reading does, in the order of the bits.
var readingNames = [...]struct{ name, does string }{
	{"slash", "ignores a slash at the end"},
	{"parameters", `drops path parameters (";x")`},
	{"case", "ignores case"},
	{"extension", `drops an extension (".json")`},
	{"trailing", "drops dots and spaces at the end of a segment"},
}

// ReadingNames are the names of all readings.
func ReadingNames() []string {
	names := make([]string, len(readingNames))
	for i, r := range readingNames {
		names[i] = r.name
	}
	return names
}

// ParseReadings returns the readings of these names. A fault's field is the
// index of a name: "[1]".
func ParseReadings(names []string) (rs Readings, faults []Fault) {
	for i, name := range names {
		at := slices.Index(ReadingNames(), name)
		switch {
		case at < 0:
			faults = append(faults, Fault{fmt.Sprintf("[%d]", i), fmt.Sprintf("%.40q is no reading: write one of %s", name, strings.Join(ReadingNames(), ", "))})
		case rs&(1<<at) != 0:
			faults = append(faults, Fault{fmt.Sprintf("[%d]", i), fmt.Sprintf("%q is there twice: remove one", name)})
		default:
			rs |= 1 << at
		}
	}
	return rs, faults
}

// String says what a server with all of these readings does.
func (rs Readings) String() string {
	var does []string
	for i, r := range readingNames {
		if rs&(1<<i) != 0 {
			does = append(does, r.does)
		}
	}
	return strings.Join(does, " and ")
}

// WithReadings returns the same routes with these readings in force: the same
// pointer each time.
func (r *Routes) WithReadings(readings Readings) *Routes { return r.table.with(readings) }

func (t *table) with(readings Readings) *Routes {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.other == nil {
		t.other = map[Readings]*Routes{}
	}
	if t.other[readings] == nil {
		t.other[readings] = &Routes{table: t, readings: readings}
	}
	return t.other[readings]
}

// prepare finds out, once, where readings can matter.
func (t *table) prepare(leaves []*leaf) {
	classes := map[string]int{}
	workspaces, upper := false, false
	for _, l := range leaves {
		requirements := t.list[l.index].requirements()
		if _, ok := classes[requirements]; !ok {
			classes[requirements] = len(classes)
		}
		l.class = classes[requirements]
		workspaces = workspaces || l.workspace > 0
		upper = upper || !l.isFolded()
	}
	t.uniform = len(classes) <= 1 && !workspaces
	for _, l := range leaves {
		l.rival = t.hasRival(l)
	}
	t.folded = &t.tree
	if upper {
		t.folded = &tree{methods: map[string]*node{}}
		for _, l := range leaves {
			t.folded.insert(l.fold())
		}
	}
}

// requirements are equal for two routes that ask for the same, whatever they
// match.
func (r *Route) requirements() string {
	same := func(list []string) []string {
		list = append([]string(nil), list...)
		slices.Sort(list)
		return slices.Compact(list)
	}
	c := *r // fields that are added later count too
	c.Match = ""
	c.Scopes, c.AnyScope, c.Roles, c.AllRoles = same(r.Scopes), same(r.AnyScope), same(r.Roles), same(r.AllRoles)
	if place, name := r.WorkspaceAt(); place == HeaderPlace {
		c.Workspace = "header:" + name
	}
	return fmt.Sprintf("%#v", c)
}

func (p pattern) isFolded() bool {
	return !slices.ContainsFunc(p.segments, func(s segment) bool {
		return !plainpath.IsFolded(s.verb) || s.kind == literalSegment && !plainpath.IsFolded(s.text)
	})
}

// fold returns the leaf for the tree of folded patterns.
func (l *leaf) fold() *leaf {
	folded := *l
	folded.segments = slices.Clone(l.segments)
	for i, s := range folded.segments {
		folded.segments[i].verb = plainpath.Fold(s.verb)
		if s.kind == literalSegment {
			folded.segments[i].text = plainpath.Fold(s.text)
		}
	}
	folded.next = nil
	return &folded
}

// hasRival tells whether a pattern that ends in a slash may describe a path of
// l, which does not, more narrowly: /{page} beside /admin/, where many servers
// take /admin for /admin/.
func (t *table) hasRival(l *leaf) bool {
	if last := l.segments[len(l.segments)-1].kind; last != literalSegment && last != wildSegment {
		return false
	}
	found := false
	slashed := append(slices.Clip(l.segments), segment{kind: slashSegment})
	collect := func(other *leaf) {
		found = found || other != nil && len(other.segments) == len(slashed) && !l.isPairOf(other)
	}
	t.any.meeting(slashed, collect)
	for method, root := range t.methods {
		if l.method == "" || method == l.method || isGet(method) && isGet(l.method) {
			root.meeting(slashed, collect)
		}
	}
	return found
}

// isPairOf tells whether l, without a slash, describes no more paths than other
// does with one: two patterns that were meant to differ by the slash.
func (l *leaf) isPairOf(other *leaf) bool {
	return covers(other.segments[:len(other.segments)-1], l.segments)
}

// covers tells whether each path of the pattern b is one of the pattern a.
func covers(a, b []segment) bool {
	for i, s := range a {
		if s.kind == restSegment {
			return len(b) > i
		}
		if i >= len(b) || !s.covers(b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

func (s segment) covers(other segment) bool {
	switch s.kind {
	case wildSegment:
		return other.kind == wildSegment && (s.verb == "" || s.verb == other.verb) ||
			other.kind == literalSegment && (s.verb == "" || hasVerb(other.text, s.verb))
	case literalSegment:
		return other.kind == literalSegment && other.text == s.text
	}
	return s.kind == other.kind
}

// narrower tells whether l describes fewer requests than other, and none that
// other does not.
func (l *leaf) narrower(other *leaf) bool {
	return other.coversLeaf(l) && !l.coversLeaf(other)
}

func (l *leaf) coversLeaf(other *leaf) bool {
	method := l.method == "" || l.method == other.method || l.method == "GET" && other.method == "HEAD"
	return method && covers(l.segments, other.segments)
}

// Misreading is how another server could route a request: past the route that
// Match finds.
type Misreading struct {
	Readings Readings // what it does to the path
	Route    *Route   // nil: no route is for what it makes of it
}

// Misreading returns how another server could route a request that one route
// matches as it is: under the fewest readings, if there are several.
func (r *Routes) Misreading(method string, segments []string) (m Misreading, found bool) {
	l := r.lookup(method, segments)
	if l == nil {
		return m, false
	}
	d := r.read(method, segments, l, true)
	if !d.found {
		return m, false
	}
	m.Readings = d.reading.applied
	if d.other != nil {
		m.Route = &r.list[d.other.index]
	}
	return m, true
}

// Find is Match for a server behind that has any of the readings: ambiguous
// where it could route the request past the route that matches. Then there is
// no match.
func (r *Routes) Find(method string, segments []string) (m Match, found, ambiguous bool) {
	l := r.lookup(method, segments)
	if l == nil {
		return m, false, false
	}
	if r.doubtful(l, segments) {
		d := r.read(method, segments, l, false)
		if d.found {
			return m, false, true
		}
		m.WorkspaceUnsure = d.unsure
	}
	m.Route, m.Index, m.Params = &r.list[l.index], l.index, l.params(segments)
	return m, true, false
}

// Ambiguous tells whether another server could serve the request as the path of
// another route than the one that Match finds, one with other requirements: a
// broad pattern must not open a path that a narrower one guards.
func (r *Routes) Ambiguous(method string, segments []string) bool {
	l := r.lookup(method, segments)
	return l != nil && r.doubtful(l, segments) && r.read(method, segments, l, false).found
}

// doubtful tells whether there is anything to read in more than one way: most
// paths have nothing.
func (r *Routes) doubtful(l *leaf, segments []string) bool {
	rs := r.readings
	if rs == 0 {
		return false
	}
	var seen byte
	for i, s := range segments {
		for j := range len(s) {
			seen |= traits[s[j]]
		}
		switch {
		case s == "":
			if i > 0 && rs&SlashReading != 0 {
				seen |= traitNow
			}
		case rs&TrailingReading != 0 && isTrailing(s[len(s)-1]):
			seen |= traitNow
		}
	}
	if seen&traitSemicolon != 0 && rs&ParametersReading != 0 {
		return true
	}
	if r.uniform {
		return false
	}
	return seen&traitNow != 0 ||
		l.rival && rs&SlashReading != 0 ||
		rs&CaseReading != 0 && (seen&traitCase != 0 || r.folded != &r.tree) ||
		rs&ExtensionReading != 0 && strings.IndexByte(segments[len(segments)-1], '.') >= 0
}

// What a byte of a path can mean.
const (
	traitNow = 1 << iota
	traitSemicolon
	traitCase
)

var traits = func() (t [256]byte) {
	for c := range t {
		if 'A' <= c && c <= 'Z' || c >= 0x80 {
			t[c] = traitCase
		}
	}
	t[';'] = traitSemicolon
	return t
}()

func isTrailing(c byte) bool { return c == '.' || c == ' ' }

// reading is a path as another server could see it.
type reading struct {
	segments []string
	applied  Readings
}

// doubt is what the readings of a path gave.
type doubt struct {
	found   bool // a server could route it elsewhere
	other   *leaf
	reading reading

	// unsure: the same requirements everywhere, but the parameter that names
	// the workspace has another value in one of the readings.
	unsure bool
}

// maxReadings is more than any path has that a client sends in good faith: each
// of the readings but the extension leaves nothing for itself.
const maxReadings = 64

// read compares the route l of a path with those of all its readings. Of the
// doubts it returns the first, or with fewest the one of the fewest readings.
func (r *Routes) read(method string, segments []string, l *leaf, fewest bool) (d doubt) {
	var listRoom [8]reading
	var leafRoom [8]*leaf
	list := r.readings.expand(append(listRoom[:0], reading{segments: segments}))
	// Fastify 4 begins the query at a ";", where there is one.
	d.unsure = l.queried && r.readings&ParametersReading != 0 && hasSemicolon(segments)
	report := func(other *leaf, of reading, applied Readings) {
		if of.applied |= applied; !d.found || bits.OnesCount8(uint8(of.applied)) < bits.OnesCount8(uint8(d.reading.applied)) {
			d.found, d.other, d.reading = true, other, of
		}
	}
	if len(list) > maxReadings { // nobody's path: refused
		report(nil, list[len(list)-1], 0)
	}
	for _, of := range list {
		for _, applied := range [...]Readings{0, CaseReading} {
			if applied&^r.readings != 0 {
				continue
			}
			candidates := r.candidates(leafRoom[:0], method, of.segments, applied != 0)
			if len(candidates) == 0 && of.applied&ParametersReading != 0 && !l.semicolon {
				report(nil, of, applied)
			}
			for _, other := range candidates {
				if other.class != l.class {
					report(other, of, applied)
				} else if l.workspaceIn(segments) != other.workspaceIn(of.segments) {
					d.unsure = true
				}
			}
			if d.found && !fewest {
				return d
			}
		}
	}
	return d
}

func hasSemicolon(segments []string) bool {
	return slices.ContainsFunc(segments, func(s string) bool { return strings.IndexByte(s, ';') >= 0 })
}

// workspaceIn is the value of the parameter that names the workspace.
func (l *leaf) workspaceIn(segments []string) string {
	if l.workspace == 0 {
		return ""
	}
	return l.wilds[l.workspace-1].value(segments)
}

// expand appends what the readings make of the path in list, in every order and
// combination; case aside, which changes no path but the comparison.
func (rs Readings) expand(list []reading) []reading {
	for i := 0; i < len(list) && len(list) <= maxReadings; i++ {
		for _, step := range strippers {
			if rs&step.reading == 0 {
				continue
			}
			if segments, changed := step.strip(list[i].segments); changed {
				list = addReading(list, segments, list[i].applied|step.reading)
			}
		}
	}
	return list
}

var strippers = [...]struct {
	reading Readings
	strip   func([]string) (plain []string, changed bool)
}{
	{SlashReading, dropSlash}, {ParametersReading, dropParameters}, {TrailingReading, dropTrailing}, {ExtensionReading, dropExtension},
}

func addReading(list []reading, segments []string, applied Readings) []reading {
	for i := range list {
		if slices.Equal(list[i].segments, segments) {
			return list
		}
	}
	return append(list, reading{segments, applied})
}

// dropSlash drops a slash at the end.
func dropSlash(segments []string) (plain []string, changed bool) {
	if n := len(segments); n > 1 && segments[n-1] == "" {
		return segments[:n-1], true
	}
	return nil, false
}

// dropParameters drops the parameters, and segments that are nothing but
// parameters: "/;x/admin" is "/admin" to some.
func dropParameters(segments []string) (plain []string, changed bool) {
	if !hasSemicolon(segments) {
		return nil, false
	}
	plain = make([]string, 0, len(segments))
	for i, s := range segments {
		if s, _, _ = strings.Cut(s, ";"); s != "" || i == len(segments)-1 {
			plain = append(plain, s)
		}
	}
	return plain, true
}

// dropTrailing drops dots and spaces at the end of each segment, and segments
// that are nothing else.
func dropTrailing(segments []string) (plain []string, changed bool) {
	if !slices.ContainsFunc(segments, func(s string) bool { return s != "" && isTrailing(s[len(s)-1]) }) {
		return nil, false
	}
	plain = make([]string, 0, len(segments))
	for i, s := range segments {
		if s = strings.TrimRight(s, ". "); s != "" || i == len(segments)-1 {
			plain = append(plain, s)
		}
	}
	return plain, true
}

// dropExtension drops one extension of the last segment. Servers differ on which
// of "/admin.tar.gz": Rails drops the last one, Spring's suffix patterns both. It
// is called again for what it leaves.
func dropExtension(segments []string) (plain []string, changed bool) {
	n := len(segments)
	dot := strings.LastIndexByte(segments[n-1], '.')
	if dot < 0 {
		return nil, false
	}
	plain = append(make([]string, 0, n), segments...)
	plain[n-1] = plain[n-1][:dot]
	return plain, true
}

// candidates appends the routes that a server could take for a path: the most
// specific one, and all that are in the folded tree, where two may be so.
func (r *Routes) candidates(out []*leaf, method string, segments []string, folded bool) []*leaf {
	if folded {
		out = narrowest(r.folded.collect(out, method, segments, false))
	} else if l, _ := r.find(method, segments, false); l != nil {
		out = append(out, l)
	}
	exact := false
	for _, l := range out {
		exact = exact || !l.multi
	}
	if exact && r.readings&SlashReading == 0 {
		return out
	}
	var slashed []*leaf
	var room [4]*leaf
	if folded {
		slashed = narrowest(r.folded.collect(room[:0], method, segments, true))
	} else if l, found := r.find(method, segments, true); found {
		slashed = append(room[:0], l)
	}
	if !exact { // a redirect, or the same to a server that ignores slashes
		if len(slashed) > 0 {
			return append(out[:0], slashed...)
		}
		return out
	}
	for _, l := range slashed {
		if !slices.ContainsFunc(out, func(o *leaf) bool { return o.isPairOf(l) }) {
			out = append(out, l)
		}
	}
	return out
}

// narrowest drops the leaves that describe more than another one.
func narrowest(list []*leaf) []*leaf {
	kept := 0
	for i, l := range list {
		if !slices.ContainsFunc(list, func(other *leaf) bool { return other != list[i] && other.narrower(l) }) {
			list[kept], list[i] = l, list[kept]
			kept++
		}
	}
	return list[:kept]
}

// collect appends every pattern for the method that the path matches when its
// case is ignored; slash asks for those of the path with a slash at its end, and
// no more than that.
func (t *tree) collect(out []*leaf, method string, segments []string, slash bool) []*leaf {
	out = t.methods[method].collect(out, segments, slash)
	if method == "HEAD" {
		out = t.methods["GET"].collect(out, segments, slash)
	}
	return t.any.collect(out, segments, slash)
}

func (n *node) collect(out []*leaf, segments []string, slash bool) []*leaf {
	switch {
	case n == nil:
		return out
	case len(segments) == 0 && !slash:
		return n.end.all(out)
	case len(segments) == 0 || len(segments) == 1 && segments[0] == "" && !slash:
		return n.rest.all(n.slash.all(out))
	case segments[0] == "":
		return out
	}
	out = n.folded(n.literal, segments[0]).collect(out, segments[1:], slash)
	if n.verbs != nil {
		if _, verb, ok := cutVerb(segments[0]); ok {
			out = n.folded(n.verbs, verb).collect(out, segments[1:], slash)
		}
	}
	out = n.wild.collect(out, segments[1:], slash)
	if slash {
		return out
	}
	return n.rest.all(out)
}

// all appends the leaf and those that stand at the same place.
func (l *leaf) all(out []*leaf) []*leaf {
	for ; l != nil; l = l.next {
		out = append(out, l)
	}
	return out
}

// folded returns what a map of n has for the folded text. It allocates for long
// names alone.
func (n *node) folded(of map[string]*node, text string) *node {
	const shrinks = 3 // bytes of one letter whose folded form has one
	if len(text) > shrinks*n.longest {
		return nil
	}
	if plainpath.IsFolded(text) {
		return of[text]
	}
	var room [128]byte
	return of[string(plainpath.AppendFold(room[:0], text))]
}
