# METADATA
# title: Changes only during opening hours
# description: |
#   The hours are data, so they can change without the policy. ussoauthz does not
#   cache the decisions of a policy that reads the time.
# scope: package
package example.time_of_day

# METADATA
# title: The answer to the request
# entrypoint: true
decision := data.usso.authz.decision if {
	reads
} else := data.usso.authz.decision if {
	open_at(time.now_ns())
} else := {"allowed": false, "reason": "closed", "detail": "Changes are made in opening hours"}

reads if input.request.method in {"GET", "HEAD", "OPTIONS"}

# The time is an argument, so that tests can pass any.
open_at(ns) if {
	at := [ns, data.opening.zone]
	time.weekday(at) in data.opening.days
	[hour, _, _] := time.clock(at)
	hour >= data.opening.from
	hour < data.opening.to
}
