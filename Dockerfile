# Two ways to the same image. `docker build .` compiles from source. `make build`
# and `docker build --target prebuilt .` take the binaries of this machine and pull
# nothing: that stage comes first, so that the classic builder stops at it.
FROM scratch AS prebuilt
COPY bin/ussoauthz bin/ussodev /
USER 65532:65532
ENTRYPOINT ["/ussoauthz"]

FROM golang:1.26 AS source
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /out/ ./cmd/...

# The service alone: the development tools are not in it.
FROM scratch AS service
COPY --from=source /out/ussoauthz /
COPY --from=source /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
USER 65532:65532
ENTRYPOINT ["/ussoauthz"]

FROM scratch AS full
COPY --from=source /out/ussoauthz /out/ussodev /
COPY --from=source /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
USER 65532:65532
ENTRYPOINT ["/ussoauthz"]
