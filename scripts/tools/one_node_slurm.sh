#!/bin/sh
# A Slurm of this machine alone, to try hydra/launcher=slurm and for its test (Debian, Ubuntu; as root):
#   sh scripts/tools/one_node_slurm.sh start DIR    installs what is missing, starts munge, slurmctld, slurmd
#   sh scripts/tools/one_node_slurm.sh stop DIR     stops them
# Everything lies in DIR. Commands of Slurm then need: export SLURM_CONF=DIR/slurm.conf
set -eu

fail() {
    echo "one_node_slurm: $1" >&2
    exit 1
}

[ $# -eq 2 ] || fail "usage: sh scripts/tools/one_node_slurm.sh start|stop DIR"
mkdir -p "$2"
DIR=$(cd "$2" && pwd)
export SLURM_CONF="$DIR/slurm.conf"

stop() {
    for name in slurmd slurmctld munged; do
        [ -f "$DIR/$name.pid" ] || continue
        kill "$(cat "$DIR/$name.pid")" 2>/dev/null || true
        rm -f "$DIR/$name.pid"
    done
}

install() {
    command -v apt-get >/dev/null || fail "slurmctld, slurmd and munge must be installed."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        slurmctld slurmd slurm-client munge >/dev/null
}

configure() {
    mkdir -p "$DIR/state" "$DIR/spool"
    host=$(hostname -s)
    # cred_expire: a job that goes back into the queue waits as long as its credential is good, or
    # two minutes by default.
    cat >"$DIR/slurm.conf" <<CONF
ClusterName=one_node
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$DIR/munge.socket,cred_expire=5
CryptoType=crypto/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort=$1
SlurmdPort=$2
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool
SlurmctldPidFile=$DIR/slurmctld.pid
SlurmdPidFile=$DIR/slurmd.pid
SlurmctldLogFile=$DIR/slurmctld.log
SlurmdLogFile=$DIR/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobRequeue=1
ReturnToService=2
MinJobAge=300
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
    # Without it srun and slurmd look for control groups of systemd, which a container may lack.
    echo "CgroupPlugin=cgroup/v1" >"$DIR/cgroup.conf"
}

# Two TCP ports that nothing listens on.
free_ports() {
    python3 -c '
import socket
ends = [socket.socket() for _ in range(2)]
for end in ends:
    end.bind(("127.0.0.1", 0))
print(*(end.getsockname()[1] for end in ends))'
}

start() {
    [ "$(id -u)" -eq 0 ] || fail "must be run as root: slurmd starts jobs for their users."
    for name in slurmctld slurmd sinfo munged; do
        command -v $name >/dev/null || install
    done
    stop
    configure $(free_ports)
    (umask 077 && head -c 1024 /dev/urandom >"$DIR/munge.key")
    # --force: it would rather not have its files below a folder that others may write to, as /tmp.
    munged --force --key-file="$DIR/munge.key" --socket="$DIR/munge.socket" \
        --pid-file="$DIR/munged.pid" --log-file="$DIR/munged.log" --seed-file="$DIR/munge.seed"
    slurmctld -f "$SLURM_CONF"
    slurmd -f "$SLURM_CONF"
    for _ in $(seq 100); do
        if [ "$(sinfo -h -o %T 2>/dev/null)" = idle ]; then
            sinfo
            echo "export SLURM_CONF=$SLURM_CONF"
            return
        fi
        sleep 0.2
    done
    tail -n 5 "$DIR"/*.log >&2
    stop
    fail "the node did not become idle; the logs are in $DIR."
}

case "$1" in
start) start ;;
stop) stop ;;
*) fail "$1 is neither start nor stop." ;;
esac
