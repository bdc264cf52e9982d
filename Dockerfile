# berth in a container of its host (docs/operations.md). It works on the host's namespaces, so it needs them, and the
# capabilities that docs/security.md lists with their reasons; the daemon gives up all others by itself.
#
#   docker run -d --name berth --network host --pid host \
#     --cap-drop ALL --cap-add NET_ADMIN --cap-add NET_RAW --cap-add SYS_ADMIN --cap-add NET_BIND_SERVICE --cap-add SYS_PTRACE \
#     --cap-add NET_BROADCAST --cap-add DAC_OVERRIDE --cap-add DAC_READ_SEARCH --cap-add FOWNER --cap-add CHOWN --cap-add KILL \
#     --security-opt apparmor=unconfined \
#     -v /run/netns:/run/netns:shared -v /run/berth:/run/berth -v /var/lib/berth:/var/lib/berth \
#     -v /etc/resolv.conf:/etc/resolv.conf:ro -v /proc/sys:/proc/sys berth
#
# /run/netns must be a shared mount on the host (it is once `ip netns add` has run).
FROM python:3.11-slim-bookworm AS build
COPY . /src
RUN python -m venv /opt/berth && /opt/berth/bin/pip install --no-cache-dir /src

FROM python:3.11-slim-bookworm
COPY --from=build /opt/berth /opt/berth
ENV PATH=/opt/berth/bin:$PATH
ENTRYPOINT ["berth"]
CMD ["daemon"]
