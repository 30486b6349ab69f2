package service

import (
	"context"
	"log/slog"
	"net"

	"google.golang.org/grpc/health/grpc_health_v1"
)

// ServeOn answers on another listener, one in a test's memory.
func (s *Service) ServeOn(l net.Listener) error { return s.grpc.Serve(l) }

// Health is what the health service says, without a connection.
func (s *Service) Health(ctx context.Context, name string) (grpc_health_v1.HealthCheckResponse_ServingStatus, error) {
	response, err := s.health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: name})
	return response.GetStatus(), err
}

// Bounded is the listener that all checks come through, with another bound.
func Bounded(l net.Listener, most int, log *slog.Logger) net.Listener {
	return newConnections(l, most, log, &callers{log: log})
}
