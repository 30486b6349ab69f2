package report

// The scenarios, as the table, the goals and the chart call them.
const (
	Hot          = "hot token"
	HotAlone     = "hot token, 1 in flight"
	HotHalf      = "hot token, half of the saturation rate"
	HotUnix      = "hot token, unix socket"
	HotLogged    = "hot token, decision log to a file"
	Uncached     = "hot token, all caches off"
	Cold         = "cold token (EdDSA), decision hit"
	Miss         = "hot token, decision miss"
	TimeOfDay    = "a policy with the time of day"
	Attributes   = "a policy that reads input.attributes"
	BadSignature = "bad token: signature"
	UnknownKey   = "bad token: unknown kid"
	Garbage      = "bad token: 8 KiB of garbage"
	Expired      = "bad token: expired"
	OneTenant    = "1 tenant, 10,000 hot tokens"
	ManyTenants  = "10,000 tenants, 10,000 hot tokens"
	ManyRoutes   = "5,000 routes"
)

// The ways through Envoy.
const (
	EnvoyAlone    = "Envoy: no authorization"
	EnvoyJWT      = "Envoy: jwt_authn"
	EnvoyJWTCache = "Envoy: jwt_authn with its cache"
	EnvoyFloor    = "Envoy: the floor"
	EnvoyOurs     = "Envoy: ussoauthz"
	EnvoyJWT100   = "Envoy: jwt_authn, 100 tenants"
	EnvoyJWT1000  = "Envoy: jwt_authn, 1,000 tenants"
	EnvoyOurs1000 = "Envoy: ussoauthz, 1,000 tenants"
	EnvoyAlone1   = "Envoy: no authorization, 1 in flight"
	EnvoyJWT1     = "Envoy: jwt_authn, 1 in flight"
	EnvoyFloor1   = "Envoy: the floor, 1 in flight"
	EnvoyOurs1    = "Envoy: ussoauthz, 1 in flight"
)

// The service as a whole.
const (
	StartTime    = "start with 10,000 tenants and 5,000 routes"
	ResidentSize = "memory of 10,000 tenants with 10 keys each and 100,000 tokens"
)
