package usso.authz

decision := false
