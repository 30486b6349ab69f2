package envoycheck

// checkCluster checks the connection to ussoauthz.
func (f *checker) checkCluster(cluster node) {
	socket := tlsContext(cluster.get("transport_socket", "typed_config"), 0)
	if options := protocolOptions(cluster); !speaksHTTP2(cluster, options, socket) {
		f.report(HTTP2, cluster, "http2_protocol_options", "is missing: Envoy speaks HTTP/1.1 and every request is answered with status_on_error; write typed_extension_protocol_options with explicit_http_config: {http2_protocol_options: {}}")
	}
	if socket.set() && !verifies(socket) {
		f.report(TLSUnverified, socket, "validation_context", "is missing: whoever answers at this address is taken for ussoauthz; write trusted_ca, and auto_sni_san_validation or match_typed_subject_alt_names")
	}
	if f.cfg == nil || cluster.get("transport_socket_matches").set() {
		return
	}
	switch {
	case f.cfg.TLS.Enabled() && !socket.set():
		f.report(TLS, cluster, "transport_socket", "is missing, and %s sets tls: ussoauthz understands no plaintext; write a transport_socket with an UpstreamTlsContext", f.cfg.Path)
	case !f.cfg.TLS.Enabled() && socket.set():
		f.report(TLS, socket, "transport_socket", "speaks TLS, and %s sets no tls: ussoauthz understands plaintext alone; remove it, or set tls.cert_file and tls.key_file there", f.cfg.Path)
	case f.cfg.TLS.ClientCAFile != "" && !hasCertificate(socket):
		f.report(TLS, socket, "tls_certificates", "is missing, and %s sets tls.client_ca_file: ussoauthz refuses who shows no certificate; write tls_certificates", f.cfg.Path)
	}
}

// protocolOptions is the cluster's HttpProtocolOptions.
func protocolOptions(cluster node) (options node) {
	cluster.get("typed_extension_protocol_options").each(func(_ string, value node) {
		if value.is("http.v3.HttpProtocolOptions") {
			options, _ = value.typed()
		}
	})
	return options
}

// speaksHTTP2: auto_config negotiates by ALPN, which takes TLS; what a downstream
// connection speaks is nothing that an authorization call follows.
func speaksHTTP2(cluster, options, socket node) bool {
	return options.get("explicit_http_config", "http2_protocol_options").set() ||
		options.get("auto_config").set() && socket.set() ||
		cluster.get("http2_protocol_options").set()
}

// tlsContext finds the UpstreamTlsContext of a transport socket, which others may
// wrap (tap, proxy protocol).
func tlsContext(socket node, depth int) (found node) {
	if socket.is("tls.v3.UpstreamTlsContext") {
		message, _ := socket.typed()
		return message
	}
	if inner := socket.get("transport_socket", "typed_config"); inner.set() && depth < maxDepth {
		return tlsContext(inner, depth+1)
	}
	return node{near: found.near}
}

func verifies(socket node) bool {
	common := socket.get("common_tls_context")
	for _, field := range []string{"validation_context", "validation_context_sds_secret_config", "combined_validation_context"} {
		if common.get(field).set() {
			return true
		}
	}
	return false
}

func hasCertificate(socket node) bool {
	common := socket.get("common_tls_context")
	return common.get("tls_certificates").set() || common.get("tls_certificate_sds_secret_configs").set() || common.get("tls_certificate_provider_instance").set()
}
