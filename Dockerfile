# Builds the gateway and puts it into an image that holds nothing else:
#     docker build -t redis-http-gateway .
#     docker run --rm -p 127.0.0.1:8080:8080 redis-http-gateway

FROM rust:1-slim-bookworm AS build
WORKDIR /build

# Dependencies first and apart: this layer is built anew only when a manifest changes. A stand-in for the
# sources has cargo build them; what it made of the stand-in is removed again, as cargo would take it for
# newer than the sources, whose times are older. Targets that are not in the image (tests, benches,
# examples) are cut out of the manifest, or cargo would miss their files.
COPY Cargo.toml Cargo.lock ./
RUN awk '/^\[/ { keep = !/^\[\[(test|bench|example)\]\]/ } keep' Cargo.toml > cut.toml \
    && mv cut.toml Cargo.toml \
    && mkdir src && touch src/lib.rs && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked \
    && cargo clean --release --package redis-http-gateway \
    && rm -r src

COPY openapi openapi
COPY src src
RUN cargo build --release --locked

# Whose certificates to trust, for Redis over TLS.
RUN test -s /etc/ssl/certs/ca-certificates.crt \
    || (apt-get update && apt-get install -y --no-install-recommends ca-certificates)

# The program, those certificates, and the few libraries it is linked to: libc (which resolves host names by itself), libgcc and
# the loader. No shell, no package manager, nothing set-uid: a tenth of debian:bookworm-slim, and as much
# less to keep patched. Not linked statically, because glibc then cannot resolve host names and musl's
# allocator is slow with threads.
RUN mkdir /image \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && ldd target/release/redis-http-gateway | grep -o '/[^ ]*' | xargs cp --parents --dereference -t /image \
    && install -D target/release/redis-http-gateway /image/usr/local/bin/redis-http-gateway

FROM scratch
COPY --from=build /image /
# Inside a container loopback is nobody else's; what is published, and to whom, `docker run -p` says. Listening
# on all addresses it asks for a token, and prints the one it makes unless it is given one (GATEWAY_TOKEN_FILE).
ENV GATEWAY_LISTEN=0.0.0.0:8080 PATH=/usr/local/bin
EXPOSE 8080
# No name, so that a platform can see that it is not root without reading /etc/passwd.
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["redis-http-gateway", "healthcheck"]
ENTRYPOINT ["redis-http-gateway"]
