# syntax=docker/dockerfile:1
# The worker in an image: docker build -t mfa-courier .

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
# The defaults, definitions and texts are compiled in.
COPY config config
# The caches outlive the layer, so the program is taken out of them in the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --bin mfa-courier \
    && install -D target/release/mfa-courier /out/mfa-courier

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="mfa-courier" \
      org.opencontainers.image.description="Carries sign-in codes from AMQP to SMS providers, with exactly one final outcome each" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
# Providers and brokers are trusted by the system's certificates; nothing else is needed.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/mfa-courier /usr/local/bin/mfa-courier
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/mfa-courier/

# Nobody: owns no file and writes none, so the root may be read-only.
USER 65532:65532
EXPOSE 8080 8081
# No HEALTHCHECK: what to ask depends on how it runs (`simulate` has no /readyz, listeners can be set), and
# Kubernetes ignores it. Ask GET /healthz and /readyz from outside; docker-compose.yml does.
# SIGTERM drains for up to delivery.drain (25 s): give it longer than that before killing it.
ENTRYPOINT ["mfa-courier"]
CMD ["run"]
