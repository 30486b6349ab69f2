package upstream

import (
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/ussoio/ussoauthz/pkg/jwtverify"
)

// Post is an entry of the application.
type Post struct {
	ID          string `json:"id"`
	Title       string `json:"title"`
	Content     string `json:"content"`
	TenantID    string `json:"tenant_id"`
	WorkspaceID string `json:"workspace_id"`
	AuthorID    string `json:"author_id"`
}

// place is where a post belongs. Workspace names are a tenant's own: two
// tenants may both have a ws_1.
type place struct{ tenant, workspace string }

func placeOf(id *jwtverify.Identity) place { return place{id.TenantID, id.WorkspaceID} }

func (p Post) in(at place) bool { return p.TenantID == at.tenant && p.WorkspaceID == at.workspace }

// store keeps posts in memory, in the order in which they were made.
type store struct {
	mu    sync.Mutex
	max   int
	last  int
	posts []Post
}

func newStore(limit int) *store { return &store{max: limit} }

func (s *store) list(at place) []Post {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []Post{}
	for _, p := range s.posts {
		if p.in(at) {
			found = append(found, p)
		}
	}
	return found
}

func (s *store) add(at place, p Post) (Post, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.posts) >= s.max {
		return Post{}, fmt.Errorf("there are already %d posts: delete some", s.max)
	}
	s.last++
	p.ID, p.TenantID, p.WorkspaceID = strconv.Itoa(s.last), at.tenant, at.workspace
	s.posts = append(s.posts, p)
	return p, nil
}

func (s *store) remove(at place, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := slices.IndexFunc(s.posts, func(p Post) bool { return p.ID == id && p.in(at) })
	if n < 0 {
		return false
	}
	s.posts = slices.Delete(s.posts, n, n+1)
	return true
}

// authors returns who has written for a tenant.
func (s *store) authors(tenant string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []string{}
	for _, p := range s.posts {
		if p.TenantID == tenant && !slices.Contains(found, p.AuthorID) {
			found = append(found, p.AuthorID)
		}
	}
	return found
}
