# The image of the proxy, of its init container and of the webhook: Debian's Python and iptables, the proxy, no shell.
#
#   docker build -t trio-sidecar/sidecar:dev .        or   buildah bud --isolation=chroot .
#
# Both architectures from one file (--platform linux/amd64,linux/arm64); a list of what is in it is /sbom.json.
# The modules of the exchange are compiled in the first stage, which alone has a compiler.
FROM debian:12-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends binutils ca-certificates gcc iptables libc6-dev nftables python3 \
      python3-dev python3-venv
COPY . /src
RUN /src/scripts/image_root.sh /rootfs

FROM scratch
COPY --from=build /rootfs /
ENV PATH=/opt/sidecar/bin:/usr/sbin:/usr/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 1337:1337
ENTRYPOINT ["/opt/sidecar/bin/sidecar"]
