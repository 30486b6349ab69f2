package policy

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/ussoio/ussoauthz/pkg/plainpath"
	"github.com/ussoio/ussoauthz/pkg/policy/grpcbody"
)

// The input document is written down once, as the list of its leaves. A leaf
// knows how to build its term and how to write what the term was built from
// into a cache's key, so that neither can forget what the other has.

// leaf is a member of input, or of one of its objects, that is built as a whole.
type leaf struct {
	object string // the member of input that it stands in; "" for a member of input itself
	name   string

	// term builds the value, nil where there is none. Of an open leaf, only the
	// picked members.
	term func(q *question, picks []pick) (*ast.Term, error)

	// key appends what term looks at, injectively: two requests with equal bytes
	// have equal terms. It returns false where that can't be told.
	key func(b []byte, q *question, picks []pick) ([]byte, bool)

	// plain gives the whole value as decoded JSON, for people: it is never refused,
	// and costs no more for names that collide. nil: term is as good.
	plain func(q *question) (any, error)

	// open: the names below it are the client's or the issuer's, and a policy
	// that reads some of them is not made to wait for all.
	open bool

	// hidden: there only for the rule of ours that names it, and no part of the
	// object around it.
	hidden bool

	// costly: building it costs more than all others.
	costly bool

	// perRequest says why the leaf, read as a whole, differs in nearly every
	// request; "" where it does not.
	perRequest string
}

// pick is a path below an open leaf, of one step at least: names of an object's
// members, or the index of a list's element in the form of ast.Number.
type pick []string

// question is one request that the engine is asked about.
type question struct {
	in      *Input
	methods *grpcbody.Methods // whose messages can be read
	bounds  *bounds

	detached bool // the document may outlive the request
	plainly  bool // the rules are to be seen at work, not what spares them

	body      *ast.Term // nil until it was read
	truncated bool

	plain []string // the segments as servers may read them; nil until they were read

	attributes    any // what Attributes returned, once it was asked
	attributesErr error
	asked         bool

	turns  *turns        // where the request has its turn, as a large one; nil: small
	waited time.Duration // for it

	key []byte
}

// questions are used again: one that is asked escapes, and its key is long.
var questions = sync.Pool{New: func() any { return new(question) }}

// release gives a question back. Nothing of the request stays in it.
func (q *question) release() {
	clear(q.key)
	*q = question{key: q.key[:0]}
	if cap(q.key) <= maxKey {
		questions.Put(q)
	}
}

// null tells whether an object of input is null.
func (q *question) null(object string) bool {
	switch object {
	case "identity":
		return q.in.Identity == nil
	case "route":
		return q.in.Route == nil
	}
	return false
}

// leaves is the whole input document.
var leaves = []leaf{
	text("tenant", "id", func(in *Input) string { return in.TenantID }),
	text("tenant", "issuer", func(in *Input) string { return in.Issuer }),

	text("identity", "sub", func(in *Input) string { return in.Identity.Subject }),
	text("identity", "user_id", func(in *Input) string { return in.Identity.UserID }),
	text("identity", "tenant_id", func(in *Input) string { return in.Identity.TenantID }),
	text("identity", "workspace_id", func(in *Input) string { return in.Identity.WorkspaceID }),
	texts("identity", "roles", func(in *Input) []string { return in.Identity.Roles }),
	texts("identity", "scopes", func(in *Input) []string { return in.Identity.Scopes }),
	text("identity", "token_type", func(in *Input) string { return in.Identity.TokenType }),
	text("identity", "session_id", func(in *Input) string { return in.Identity.SessionID }),
	{object: "identity", name: "exp", term: expiryTerm, key: expiryKey},
	{object: "identity", name: "claims", open: true, term: claimsTerm, plain: claimsPlain, key: claimsKey},

	text("request", "method", func(in *Input) string { return in.Method }),
	text("request", "host", func(in *Input) string { return in.Host }),
	{object: "request", name: "path", term: pathTerm, key: segmentsKey},
	{object: "request", name: "segments", open: true, term: segmentsTerm, key: segmentsKey},
	{object: "request", name: "plain_segments", open: true, term: plainSegmentsTerm, key: plainSegmentsKey},
	{object: "request", name: "query", open: true, term: queryMembers, plain: queryPlain, key: queryKey},
	{object: "request", name: "headers", open: true, term: headerMembers, plain: headersPlain, key: headersKey, perRequest: "the headers as a whole differ in each request (x-request-id)"},

	routeLeaf(0), routeLeaf(1), routeLeaf(2), routeLeaf(3), routeLeaf(4), routeLeaf(5), routeLeaf(6), routeLeaf(7),
	{object: "route", name: "params", open: true, term: paramsTerm, key: paramsKey},
	{object: "route", name: "named_workspace", hidden: true, term: workspaceTerm, key: workspaceKey},
	// The key has what it looks at, for the rules that it stands before.
	{object: "route", name: "permitted", hidden: true, term: permittedTerm, key: nothing},

	{name: "parsed_path", open: true, term: segmentsTerm, key: segmentsKey},
	{name: "parsed_query", open: true, term: queryMembers, plain: queryPlain, key: queryKey},
	{name: "parsed_body", costly: true, term: bodyTerm, key: bodyKey},
	{name: "truncated_body", costly: true, term: truncatedTerm, key: bodyKey},
	{name: "version", term: versionTerm, key: nothing},
	{name: "attributes", costly: true, open: true, term: attributesTerm, plain: attributesPlain, key: attributesKey, perRequest: "the attributes as a whole hold the time and the id of the request"},
}

// reads is what a policy can read of the input, and with that the plan for the
// documents and the keys that are made for it.
type reads struct {
	whole   bool // something that can't be told apart: all of it
	objects []objectPlan
}

// objectPlan is a member of input: an object of leaves, or one leaf alone.
type objectPlan struct {
	name   *ast.Term
	object string // "" for a leaf alone
	leaves []leafPlan
}

type leafPlan struct {
	*leaf
	term  *ast.Term // its name
	picks []pick    // nil: the whole leaf
}

// shown is the plan of a document that people read: all of it, but for what is
// costly and not read.
func (r *reads) shown() reads {
	read := map[string]bool{}
	for i := range r.objects {
		for _, l := range r.objects[i].leaves {
			read[l.name] = true
		}
	}
	return newReads(func(l *leaf) ([]pick, bool) {
		return nil, !l.hidden && (!l.costly || read[l.name])
	})
}

// newReads plans for the leaves that chosen says are read.
func newReads(chosen func(*leaf) ([]pick, bool)) reads {
	var r reads
	for i := range leaves {
		l := &leaves[i]
		picks, ok := chosen(l)
		if !ok {
			continue
		}
		plan := leafPlan{leaf: l, term: ast.StringTerm(l.name), picks: picks}
		if n := len(r.objects); l.object != "" && n > 0 && r.objects[n-1].object == l.object {
			r.objects[n-1].leaves = append(r.objects[n-1].leaves, plan)
			continue
		}
		name := plan.term
		if l.object != "" {
			name = ast.StringTerm(l.object)
		}
		r.objects = append(r.objects, objectPlan{name: name, object: l.object, leaves: []leafPlan{plan}})
	}
	return r
}

// document builds the input, without what the policy can't read.
func (r *reads) document(q *question) (ast.Value, error) {
	members := make([][2]*ast.Term, 0, len(r.objects))
	for i := range r.objects {
		value, err := r.objects[i].value(q)
		if err != nil {
			return nil, err
		}
		if value != nil {
			members = append(members, ast.Item(r.objects[i].name, value))
		}
	}
	return ast.NewObject(members...), nil
}

// value returns nil for a member that is not there.
func (p *objectPlan) value(q *question) (*ast.Term, error) {
	if p.object == "" {
		return p.leaves[0].leaf.term(q, p.leaves[0].picks)
	}
	if q.null(p.object) {
		return ast.InternedNullTerm, nil
	}
	members := make([][2]*ast.Term, 0, len(p.leaves))
	for i := range p.leaves {
		value, err := p.leaves[i].leaf.term(q, p.leaves[i].picks)
		if err != nil {
			return nil, err
		}
		if value != nil {
			members = append(members, ast.Item(p.leaves[i].term, value))
		}
	}
	return object(members...), nil
}

// plain is document as decoded JSON, for people. The caller may change its
// objects, and nothing below input.identity.claims.
func (r *reads) plain(q *question) (map[string]any, error) {
	document := make(map[string]any, len(r.objects))
	for i := range r.objects {
		p := &r.objects[i]
		name, members := textOf(p.name), document
		switch {
		case q.null(p.object):
			document[name] = nil
			continue
		case p.object != "":
			members = make(map[string]any, len(p.leaves))
			document[name] = members
		}
		for j := range p.leaves {
			value, there, err := p.leaves[j].leaf.plainValue(q)
			if err != nil {
				return nil, err
			}
			if there {
				members[p.leaves[j].leaf.name] = value
			}
		}
	}
	return document, nil
}

func (l *leaf) plainValue(q *question) (value any, there bool, err error) {
	if l.plain != nil {
		value, err = l.plain(q)
		return value, value != nil, err
	}
	term, err := l.term(q, nil)
	if term == nil || err != nil {
		return nil, false, err
	}
	value, err = ast.JSON(term.Value)
	return value, true, err
}

// key appends what the document is built from. Every part has a tag or a length
// before it, and the plan says what comes next: keys of one plan are equal only
// if all that the policy can read is equal. It returns false where no key can
// be made; such a request is evaluated.
func (r *reads) key(b []byte, q *question) (_ []byte, ok bool) {
	for i := range r.objects {
		p := &r.objects[i]
		if q.null(p.object) {
			b = append(b, tagNull)
			continue
		}
		b = append(b, tagObject)
		for j := range p.leaves {
			if b, ok = p.leaves[j].key(b, q, p.leaves[j].picks); !ok {
				return b, false
			}
		}
	}
	return b, true
}

// chosenBy plans for the paths of a policy: input's members by constant names.
func chosenBy(paths [][]string) reads {
	return newReads(func(l *leaf) (picks []pick, read bool) {
		whole := false
		for _, path := range paths {
			rest, ok := l.below(path)
			if !ok {
				continue
			}
			read = true
			if len(rest) == 0 || !l.open {
				whole = true
			}
			picks = append(picks, rest)
		}
		if whole {
			picks = nil
		}
		return picks, read
	})
}

// below tells whether a path reads the leaf, and what of it: nothing of the
// path is left where all of it is read.
func (l *leaf) below(path []string) (rest pick, ok bool) {
	at := []string{l.object, l.name}
	if l.object == "" {
		at = at[1:]
	}
	for i, name := range at {
		if i == len(path) {
			return nil, !l.hidden // the object around it
		}
		if path[i] != name {
			return nil, false
		}
	}
	return path[len(at):], true
}

// knownPath tells whether a path leads to a leaf or to an object of leaves.
func knownPath(path []string) bool {
	for i := range leaves {
		if _, ok := leaves[i].below(path); ok {
			return true
		}
	}
	return false
}

// hiddenPath tells whether a path leads to a hidden leaf.
func hiddenPath(path []string) bool {
	return slices.ContainsFunc(leaves, func(l leaf) bool {
		_, ok := l.below(path)
		return ok && l.hidden
	})
}

// index returns the index that a step of a path means.
func index(step string) (int, bool) {
	i, err := strconv.Atoi(step)
	return i, err == nil && i >= 0 && strconv.Itoa(i) == step
}

func text(object, name string, of func(*Input) string) leaf {
	return leaf{
		object: object, name: name,
		term: func(q *question, _ []pick) (*ast.Term, error) { return ast.StringTerm(of(q.in)), nil },
		key: func(b []byte, q *question, _ []pick) ([]byte, bool) {
			return appendString(b, of(q.in)), true
		},
	}
}

func texts(object, name string, of func(*Input) []string) leaf {
	return leaf{
		object: object, name: name,
		term: func(q *question, _ []pick) (*ast.Term, error) { return listTerm(of(q.in)), nil },
		key: func(b []byte, q *question, _ []pick) ([]byte, bool) {
			return appendStrings(b, of(q.in)), true
		},
	}
}

func nothing(b []byte, _ *question, _ []pick) ([]byte, bool) { return b, true }

func versionTerm(*question, []pick) (*ast.Term, error) { return version, nil }

func expiryTerm(q *question, _ []pick) (*ast.Term, error) {
	if q.in.Identity.Expiry.IsZero() {
		return ast.InternedNullTerm, nil
	}
	return ast.IntNumberTerm(int(q.in.Identity.Expiry.Unix())), nil
}

func expiryKey(b []byte, q *question, _ []pick) ([]byte, bool) {
	if q.in.Identity.Expiry.IsZero() {
		return append(b, tagNull), true
	}
	return appendLength(append(b, tagNumber), uint64(q.in.Identity.Expiry.Unix())), true // #nosec G115 -- a key, never read as a number: it wraps to a value of its own
}

func claimsTerm(q *question, picks []pick) (*ast.Term, error) {
	return membersTerm("claims", q.in.Identity.Claims.Map(), picks)
}

func claimsPlain(q *question) (any, error) {
	if claims := q.in.Identity.Claims.Map(); claims != nil {
		return claims, nil
	}
	return map[string]any{}, nil
}

func claimsKey(b []byte, q *question, picks []pick) ([]byte, bool) {
	return appendMembers(b, q.in.Identity.Claims.Map(), picks)
}

func pathTerm(q *question, _ []pick) (*ast.Term, error) {
	return ast.StringTerm("/" + strings.Join(q.in.Segments, "/")), nil
}

func segmentsTerm(q *question, _ []pick) (*ast.Term, error) { return listTerm(q.in.Segments), nil }

func segmentsKey(b []byte, q *question, picks []pick) ([]byte, bool) {
	return listKey(b, q.in.Segments, picks), true
}

func plainSegmentsTerm(q *question, _ []pick) (*ast.Term, error) {
	return listTerm(q.plainSegments()), nil
}

func plainSegmentsKey(b []byte, q *question, picks []pick) ([]byte, bool) {
	return listKey(b, q.plainSegments(), picks), true
}

func (q *question) plainSegments() []string {
	if q.plain == nil {
		q.plain = plainpath.Segments(q.in.Segments)
	}
	return q.plain
}

func listKey(b []byte, list []string, picks []pick) []byte {
	if picks == nil {
		return appendStrings(b, list)
	}
	for _, p := range picks {
		i, ok := index(p[0])
		switch {
		case ok && i < len(list):
			b = appendString(append(b, tagString), list[i])
		default: // a name, or an index that no list has, is undefined in every list
			b = append(b, tagAbsent)
		}
	}
	return b
}

func queryMembers(q *question, picks []pick) (*ast.Term, error) {
	return queryTerm(q.in.RawQuery, picks, q.bounds)
}

func headerMembers(q *question, picks []pick) (*ast.Term, error) {
	return headersTerm(q.in.Headers, picks)
}

func queryPlain(q *question) (any, error) {
	pairs := newGroups[any](0)
	for name, value := range queryPairs(q.in.RawQuery) {
		pairs.add(unescapeQuery(name), unescapeQuery(value))
	}
	return pairs.plain(func(_ string, values []any) any { return values }), nil
}

func headersPlain(q *question) (any, error) {
	lines := newGroups[string](0)
	for _, h := range q.in.Headers {
		lines.add(h.Name, strings.ToValidUTF8(h.Value, "\uFFFD"))
	}
	return lines.plain(func(name string, values []string) any { return strings.Join(values, lineSeparator(name)) }), nil
}

// picked tells whether the member of this name is among the picks.
func picked(picks []pick, name string) bool {
	if picks == nil {
		return true
	}
	for _, p := range picks {
		if p[0] == name {
			return true
		}
	}
	return false
}

func bodyTerm(q *question, _ []pick) (*ast.Term, error) {
	err := q.readBody()
	return q.body, err
}

// truncatedTerm reads the body, as a body that is not what it says is refused.
func truncatedTerm(q *question, _ []pick) (*ast.Term, error) {
	err := q.readBody()
	return ast.InternedTerm(q.truncated), err
}

func (q *question) readBody() (err error) {
	if q.body == nil {
		q.body, q.truncated, err = q.in.Body.term(q.methods, q.in.Segments, q.bounds)
		err = inputError("body", err)
	}
	return err
}

func routeLeaf(i int) leaf {
	return leaf{
		object: "route", name: routeFields[i],
		term: func(q *question, _ []pick) (*ast.Term, error) { return q.in.Route.fields[i].term, nil },
		key: func(b []byte, q *question, _ []pick) ([]byte, bool) {
			return append(b, q.in.Route.fields[i].key...), true
		},
	}
}

// workspaceTerm is nil where the request names no workspace.
func workspaceTerm(q *question, _ []pick) (*ast.Term, error) {
	id, ok := q.in.namedWorkspace()
	if !ok {
		return nil, nil
	}
	return ast.StringTerm(id), nil
}

func workspaceKey(b []byte, q *question, _ []pick) ([]byte, bool) {
	id, ok := q.in.namedWorkspace()
	if !ok {
		return append(b, tagAbsent), true
	}
	return appendString(append(b, tagString), id), true
}

func permittedTerm(q *question, _ []pick) (*ast.Term, error) {
	if q.plainly {
		return nil, nil
	}
	return ast.InternedTerm(q.in.permitted()), nil
}

// attributesOf asks for the attributes once: they cost much.
func (q *question) attributesOf() (any, error) {
	if !q.asked && q.in.Attributes != nil {
		q.attributes, q.attributesErr = q.in.Attributes()
	}
	q.asked = true
	return q.attributes, q.attributesErr
}

func attributesTerm(q *question, picks []pick) (*ast.Term, error) {
	native, err := q.attributesOf()
	if native == nil || err != nil {
		return nil, err
	}
	if q.detached {
		native = cloneNative(native)
	}
	return membersTerm("attributes", native, picks)
}

func attributesPlain(q *question) (any, error) {
	native, err := q.attributesOf()
	return cloneNative(native), err
}

func attributesKey(b []byte, q *question, picks []pick) ([]byte, bool) {
	native, err := q.attributesOf()
	if err != nil {
		return b, false
	}
	if native == nil { // the member is missing
		return append(b, tagAbsent), true
	}
	return appendMembers(append(b, tagObject), native, picks)
}
