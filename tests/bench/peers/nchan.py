"""nchan, a module of nginx; both are Debian's."""

import os
import resource
from functools import partial

from install import debian
from place import answers, free_port

from . import ROOM, Peer, Running, publishing

PACKAGES = ["nginx", "libnginx-mod-nchan"]

CONFIGURATION = """
load_module {files}/usr/lib/nginx/modules/ngx_nchan_module.so;
daemon off;
pid {folder}/nginx-{port}.pid;
error_log stderr error;
worker_processes {workers};
worker_rlimit_nofile {files_open};
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body-{port};
  proxy_temp_path {folder}/proxy-{port};
  fastcgi_temp_path {folder}/fastcgi-{port};
  uwsgi_temp_path {folder}/uwsgi-{port};
  scgi_temp_path {folder}/scgi-{port};
  # As the relay: what was said before is not told to a newcomer, and a socket is pinged each 25 s.
  nchan_store_messages off;
  nchan_shared_memory_size 256M;
  {redis}
  server {{
    listen 127.0.0.1:{port} reuseport backlog=4096;
    keepalive_requests 1000000;
    location = /subscribe {{ nchan_subscriber websocket; nchan_channel_id $arg_room; nchan_websocket_ping_interval 25; }}
    location = /publish {{ nchan_publisher; nchan_channel_id $arg_room; }}
  }}
}}
"""


# nchan takes no other folder for its files than the one it was built with, so it gets one that only it can see.
OWN_FOLDER = "mount -t tmpfs none /var/lib && mkdir /var/lib/nginx && exec \"$@\""


def install(tools):
    debian(PACKAGES, tools / "nchan")


def start(place, nodes, numbered, redis=False):
    files_open = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    use_redis = f"nchan_use_redis on; nchan_redis_url redis://127.0.0.1:{place.redis()};" if redis else ""
    running = Running([], ["--room", ROOM, *publishing(numbered)])
    for _ in range(nodes):
        port = free_port()
        configuration = place.folder / f"nginx-{port}.conf"
        configuration.write_text(
            CONFIGURATION.format(
                files=place.tools / "nchan",
                folder=place.folder,
                port=port,
                workers=place.cpus.workers,
                files_open=files_open,
                connections=files_open - 100,
                redis=use_redis,
            )
        )
        nginx = [place.tools / "nchan/usr/sbin/nginx", "-p", place.folder, "-e", "stderr", "-c", configuration]
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        unseen = ["unshare", "--mount", *as_root, "sh", "-c", OWN_FOLDER, "sh"]
        server = place.start([*unseen, *nginx], port=port, name="nginx")
        publish = f"http://127.0.0.1:{port}/publish?room="
        # Each worker has a connection to Redis, and says 503 until it is there.
        answers(publish + "nobody", times=20 * place.cpus.workers)
        running.pids.append(server.pid)
        running.target += ["--ws-url", f"ws://127.0.0.1:{port}/subscribe?room={{room}}"]
        running.target += ["--publish-url", publish + "{room}"]
    return running


PEERS = [
    Peer("nchan", install, start, redis=False),
    Peer("nchan-redis", install, partial(start, redis=True), redis=True),
]
