package example.time_of_day_test

import data.example.time_of_day

opening := {"zone": "Asia/Tehran", "days": ["Saturday", "Monday"], "from": 8, "to": 18}

open_at(text) if time_of_day.open_at(time.parse_rfc3339_ns(text)) with data.opening as opening

at(text) := time.parse_rfc3339_ns(text)

test_hours if {
	open_at("2026-03-02T08:00:00+03:30")
	open_at("2026-03-02T17:59:59+03:30")
	not open_at("2026-03-02T07:59:59+03:30")
	not open_at("2026-03-02T18:00:00+03:30")
}

test_days if {
	open_at("2026-02-28T12:00:00+03:30") # a Saturday
	not open_at("2026-02-27T12:00:00+03:30") # a Friday
}

test_the_zone_counts if {
	open_at("2026-03-02T04:30:00Z")
	not open_at("2026-03-02T15:00:00Z")
}

public := {"match": "/", "public": true}

night := 1772400000000000000 # 2026-03-01T21:20:00Z

test_reading_at_night if {
	decision := time_of_day.decision with input as {"request": {"method": "GET"}, "route": public}
		with time.now_ns as night
		with data.opening as opening
	decision.allowed
}

test_writing_at_night if {
	decision := time_of_day.decision with input as {"request": {"method": "POST"}, "route": public}
		with time.now_ns as night
		with data.opening as opening
	decision.reason == "closed"
}

test_writing_at_noon if {
	decision := time_of_day.decision with input as {"request": {"method": "POST"}, "route": public}
		with time.now_ns as at("2026-03-02T12:00:00+03:30")
		with data.opening as opening
	decision.allowed
}

# Only the exact names of reading methods are reading.
test_hostile_requests if {
	every method in ["get", "GET ", "PROPFIND", "", "DELETE"] {
		decision := time_of_day.decision with input as {
			"request": {"method": method, "headers": {"x-http-method-override": "GET", "date": "Mon, 02 Mar 2026 08:30:00 GMT"}},
			"route": public,
		}
			with time.now_ns as night
			with data.opening as opening
		decision.reason == "closed"
	}
}
