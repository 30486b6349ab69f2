# Two ways to the same image. `docker build .` compiles from source. `make build notices`
# and `docker build --target prebuilt .` take the binaries of this machine and pull
# nothing: that stage comes first, so that the classic builder stops at it. Since that
# builder also makes it on its way to the later ones, bin/ may be empty.
#
#   docker build --build-arg VERSION=v1.2.3 --build-arg REVISION=$(git rev-parse HEAD) .
ARG VERSION=dev
ARG REVISION=

FROM scratch AS base
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="ussoauthz" \
      org.opencontainers.image.description="An Envoy external authorization service for a mesh of many tenants" \
      org.opencontainers.image.source="https://github.com/ussoio/ussoauthz" \
      org.opencontainers.image.documentation="https://github.com/ussoio/ussoauthz/tree/main/docs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION
USER 65532:65532
# For a service that listens elsewhere than at port 9191 it takes -a.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["/ussoauthz", "health"]
ENTRYPOINT ["/ussoauthz"]

FROM base AS prebuilt
COPY LICENSE bin/ussoauth[z] bin/ussode[v] bin/NOTICE[S] /

FROM golang:1.26 AS source
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION
ARG REVISION
RUN make build notices VERSION=$VERSION REVISION=$REVISION

FROM base AS full
COPY --from=source /src/LICENSE /src/bin/NOTICES /src/bin/ussoauthz /src/bin/ussodev /
COPY --from=source /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/

# The service alone: the development tools are not in it.
FROM base AS service
COPY --from=source /src/LICENSE /src/bin/NOTICES /src/bin/ussoauthz /
COPY --from=source /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
