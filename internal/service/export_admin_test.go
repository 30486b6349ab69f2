package service

import "net/http"

// AdminHandler is what the admin listener serves.
func (s *Service) AdminHandler() http.Handler { return s.adminHandler() }
