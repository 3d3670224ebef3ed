#!/usr/bin/env bash
# A SLURM of one node on this machine, for tests and for trying a sweep. It runs munged, slurmctld
# and slurmd as root.
#
#   apt-get install slurm-wlm munge
#   slurm/dev_cluster.sh start
#   export SLURM_CONF=/run/ot-dev-cluster/slurm.conf
#   python -m slurm.submit slurm/sweeps/digits.toml
#   slurm/dev_cluster.sh stop                          # jobs and all
#
# All its files are in one folder (OT_DEV_CLUSTER, default as above), and it uses other ports than
# SLURM's usual ones. It refuses to start on a machine that has a SLURM, and stops nothing that it
# did not start. It keeps no accounts, so it is for your own machine only.
set -euo pipefail

home=${OT_DEV_CLUSTER:-/run/ot-dev-cluster}
export SLURM_CONF=$home/slurm.conf
daemons=(slurmd slurmctld munged)

fail() { echo "error: $1" >&2; exit 2; }
pid_of() { cat "$home/$1.pid" 2>/dev/null || true; }
# A pid file may outlive its process, and its number may be another's by now.
runs() {
  local pid
  pid=$(pid_of "$1")
  [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ]
}

refuse_where_there_is_one() {
  [ "$(id -u)" = 0 ] || fail "only root can start it: SLURM's daemons start other users' jobs"
  for tool in munged slurmctld slurmd scontrol; do
    command -v "$tool" >/dev/null || fail "$tool is missing: apt-get install slurm-wlm munge"
  done
  for conf in /etc/slurm/slurm.conf /etc/slurm-llnl/slurm.conf; do
    [ ! -e "$conf" ] || fail "this machine has a SLURM ($conf): use that one"
  done
  for daemon in slurmctld slurmd; do
    ! pgrep -x "$daemon" >/dev/null || fail "another $daemon is running here: use that cluster"
  done
  if [ -e "$home" ] && [ ! -e "$home/.ot-dev-cluster" ]; then
    fail "$home is not mine: set OT_DEV_CLUSTER to a folder that is not there yet"
  fi
}

write_conf() {
  local host cpus
  host=$(hostname -s)
  cpus=$(nproc)
  # A requeued job waits for its credentials to expire: 5 s instead of 2 min. Twice the CPUs of the
  # machine, so that few jobs wait.
  cat >"$SLURM_CONF" <<CONF
ClusterName=ot-dev
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$home/munge.socket,cred_expire=5
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,batch_sched_delay=1
ReturnToService=2
MpiDefault=none
KillWait=10
JobRequeue=1
MailProg=/bin/true
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd.pid
SlurmctldLogFile=$home/slurmctld.log
SlurmdLogFile=$home/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$((2 * cpus)) RealMemory=65536 State=UNKNOWN
PartitionName=dev Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
}

start_munged() {
  [ -s "$home/munge.key" ] || (umask 077 && head -c 1024 /dev/urandom >"$home/munge.key")
  munged --socket="$home/munge.socket" --key-file="$home/munge.key" --pid-file="$home/munged.pid" \
    --log-file="$home/munged.log" --seed-file="$home/munged.seed"
}

start() {
  if runs slurmctld && runs slurmd && runs munged; then
    echo "runs already: export SLURM_CONF=$SLURM_CONF"
    return
  fi
  runs slurmctld || runs slurmd || refuse_where_there_is_one
  mkdir -p "$home"/{state,spool}
  chmod 755 "$home"
  touch "$home/.ot-dev-cluster"
  write_conf
  runs munged || start_munged
  runs slurmctld || slurmctld
  runs slurmd || slurmd
  for _ in $(seq 60); do
    if [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ]; then
      echo "export SLURM_CONF=$SLURM_CONF"
      return
    fi
    sleep 0.5
  done
  fail "the node does not come up: see $home/slurmctld.log and $home/slurmd.log"
}

stop() {
  local pid
  [ -e "$home/.ot-dev-cluster" ] || fail "there is none of mine in $home"
  if runs slurmctld; then
    scancel --user="$(id -un)" 2>/dev/null || true
    for _ in $(seq 30); do [ -n "$(squeue --noheader 2>/dev/null)" ] || break; sleep 0.5; done
  fi
  for daemon in "${daemons[@]}"; do
    runs "$daemon" || continue
    pid=$(pid_of "$daemon")
    kill "$pid"
    # It removes its pid file long before it ends.
    for _ in $(seq 60); do [ -e "/proc/$pid" ] || break; sleep 0.25; done
  done
  rm -rf "$home"
}

status() {
  local down=0
  for daemon in "${daemons[@]}"; do
    if runs "$daemon"; then
      echo "$daemon runs, process $(pid_of "$daemon")"
    else
      echo "$daemon does not run"
      down=1
    fi
  done
  [ $down = 1 ] || timeout 20 sinfo
  return $down
}

case "${1:-}" in
  start | stop | status) "$1" ;;
  *) fail "usage: $0 start|stop|status" ;;
esac
