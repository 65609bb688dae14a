#!/usr/bin/env bash
# A Slurm cluster of one node for the tests, on Debian or Ubuntu, as root, without systemd, reachable from here only.
#
#   one_node.sh install   get slurmctld, slurmd, slurm-client and munge with apt where they are missing
#   one_node.sh start     start the daemons; ends when a job could run (does nothing if they run already)
#   one_node.sh stop      cancel the jobs, and end the daemons that `start` started
#
#   NODE_DIR     what belongs to the cluster: configuration, state, logs (default /tmp/sintro-slurm)
#   NODE_CPUS    CPUs to announce, more than there are if need be (default 4); memory is announced as 64 GB
#   NODE_GPUS    GPUs to announce; plain files stand in for the devices (default 2)
set -euo pipefail
dir=${NODE_DIR:-/tmp/sintro-slurm}
cpus=${NODE_CPUS:-4}
gpus=${NODE_GPUS:-2}
node=$(hostname -s)
socket=$dir/munge.socket
export SLURM_CONF=$dir/slurm.conf

say() { echo "one_node.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

# running NAME: whether the daemon whose process id `start` recorded is still that program
running() {
  local pid
  pid=$(cat "$dir/$1.pid" 2>/dev/null) || return 1
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ]
}

# eventually SECONDS COMMAND...: try until it works
eventually() {
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

install() {
  local missing=()
  for program in slurmctld slurmd sbatch munged; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing what has ${missing[*]}"
  # Without systemd apt starts no daemon; with it, these units would fail for lack of a configuration and do no harm.
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge
}

configure() {
  mkdir -p "$dir"/{state,spool,devices}
  chmod 755 "$dir"
  chmod 700 "$dir/state" "$dir/spool"
  [ -s "$dir/munge.key" ] || (umask 077 && head -c 1024 /dev/urandom >"$dir/munge.key")
  : >"$dir/gres.conf"
  for ((gpu = 0; gpu < gpus; gpu++)); do
    : >"$dir/devices/gpu$gpu"
    echo "Name=gpu File=$dir/devices/gpu$gpu" >>"$dir/gres.conf"
  done
  cat >"$SLURM_CONF" <<CONF
ClusterName=sintro
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket=$socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
# Nothing that needs cgroups, a data base or MPI.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
# Cores, memory and GPUs are handed out; more of them than there are may be announced.
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
DefMemPerCPU=200
# Jobs start at once, and are remembered long enough to be asked for.
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2
MinJobAge=600
KillWait=30
ReturnToService=2
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=64000$([ "$gpus" -eq 0 ] || echo " Gres=gpu:$gpus")
# Jobs of partition urgent take the node from the others', which get SIGTERM and, after KillWait, SIGKILL.
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
PartitionName=main Nodes=$node Default=YES MaxTime=INFINITE State=UP
PartitionName=spare Nodes=$node MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=$node MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
CONF
}

# Snakemake hands no SLURM_CONF on to its jobs, so the configuration must be where Slurm looks first.
announce() {
  mkdir -p /etc/slurm
  if [ -e /etc/slurm/slurm.conf ] && [ ! -L /etc/slurm/slurm.conf ]; then
    fail "this machine has a Slurm of its own (/etc/slurm/slurm.conf); it is left alone"
  fi
  ln -sfn "$SLURM_CONF" /etc/slurm/slurm.conf
}

usable() { # the node takes jobs
  case $(sinfo --noheader --Node --format %T | head -1) in
    idle | mixed | allocated) return 0 ;;
    down* | drain* | unknown*) scontrol update nodename="$node" state=resume ;;
  esac
  return 1
}

start() {
  for program in slurmctld slurmd sbatch munged; do
    command -v "$program" >/dev/null || fail "there is no $program; run: $0 install"
  done
  [ "$(id -u)" = 0 ] || fail "needs root"
  announce
  running slurmctld && running slurmd || configure
  running munged || munged --key-file="$dir/munge.key" --socket="$socket" --pid-file="$dir/munged.pid" \
    --log-file="$dir/munged.log" --seed-file="$dir/state/munged.seed"
  eventually 5 test -S "$socket" || fail "munged did not start; see $dir/munged.log"
  running slurmctld || slurmctld
  eventually 20 sh -c "scontrol ping | grep -q 'is UP'" || fail "slurmctld did not start; see $dir/slurmctld.log"
  running slurmd || slurmd -N "$node"
  eventually 30 usable || fail "the node takes no jobs; see $dir/slurmd.log"
  echo "$SLURM_CONF"
}

stop() {
  local pid
  if running slurmctld; then
    timeout 20 scancel --user=root || true
    eventually 15 sh -c '[ -z "$(squeue --noheader)" ]' || true
  fi
  for program in slurmd slurmctld munged; do
    running "$program" || continue
    pid=$(cat "$dir/$program.pid")
    kill "$pid"
    eventually 10 sh -c "! test -d /proc/$pid" || true
    rm -f "$dir/$program.pid"
  done
  [ "$(readlink /etc/slurm/slurm.conf || true)" != "$SLURM_CONF" ] || rm -f /etc/slurm/slurm.conf
}

case ${1:-} in
  install | start | stop) "$1" ;;
  *) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
