//! The default profile: what Docker lets an ordinary container do.
//!
//! The lists are those of Docker's default profile, `github.com/moby/profiles/seccomp` v0.2.3
//! (`seccomp/default.json`, Apache-2.0), which containerd's follows; written down in our own form, less the
//! calls of processors that we don't run on. Whatever is in no list fails with EPERM, or with ENOSYS when
//! the call is younger than the lists (see [`super::compile`]).

use super::profile::{Action, Condition, Operator, Profile, Rule};

/// Allowed for everybody.
const ALWAYS: &str = "
accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create
epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir
fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork
fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex
futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64
getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid
getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit
get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32
getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy
io_getevents io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill
landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat
listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise
map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2
mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall
munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open
pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv
preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink
readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat
rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo
sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop
semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32
setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid
setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid setsockopt
set_thread_area set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown
sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs
statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create
timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64
ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice
wait4 waitid waitpid write writev
process_vm_readv process_vm_writev ptrace
";

/// Of ARM, and of x86: no table has both, so they need no condition.
const OF_ONE_PROCESSOR: &str = "
arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls
arch_prctl modify_ldt
";

/// Allowed with a capability, whichever of the two lists it is in below.
const WITH_CAPABILITY: [(&str, &str); 13] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open \
         quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    (
        "CAP_SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    (
        "CAP_SYS_TIME",
        "settimeofday stime clock_settime clock_settime64",
    ),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    (
        "CAP_SYS_NICE",
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
];

/// One more of the kind.
const PERFMON: (&str, &str) = ("CAP_PERFMON", "perf_event_open");

/// Every flag of `clone` that makes a namespace.
const CLONE_NEW: u64 = 0x7e02_0000;

/// Families of sockets: the kernel's cryptography (38) and virtual machines (40) are left out.
const SOCKETS: [(Operator, u64); 3] = [
    (Operator::Less, 38),
    (Operator::Equal, 39),
    (Operator::Greater, 40),
];

/// Values of `personality`: Linux, 32 bits of addresses, a library with a layout of old, both, a question.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The profile for a container with these capabilities in its bounding set (`CAP_…`).
pub(crate) fn profile(capabilities: &[String]) -> Profile {
    let has = |name: &str| capabilities.iter().any(|c| c == name);
    let mut rules: Vec<Rule> = Vec::new();
    let mut allow = |names: &str, conditions: Vec<Condition>| {
        rules.push(Rule {
            names: names.split_whitespace().map(str::to_owned).collect(),
            action: Action::Allow,
            conditions,
        });
    };
    allow(ALWAYS, Vec::new());
    allow(OF_ONE_PROCESSOR, Vec::new());
    let first = |operator, value| {
        vec![Condition {
            argument: 0,
            operator,
            value,
        }]
    };
    for (operator, value) in SOCKETS {
        allow("socket", first(operator, value));
    }
    for value in PERSONALITIES {
        allow("personality", first(Operator::Equal, value));
    }
    for (capability, names) in WITH_CAPABILITY.into_iter().chain([PERFMON]) {
        if has(capability) {
            allow(names, Vec::new());
        }
    }
    if !has("CAP_SYS_ADMIN") {
        allow("clone", first(Operator::Masked(CLONE_NEW), 0));
        // Its flags lie in memory, which a filter doesn't see; libraries fall back to clone.
        rules.push(Rule {
            names: vec!["clone3".to_owned()],
            action: Action::Errno(libc::ENOSYS as u16),
            conditions: Vec::new(),
        });
    }
    Profile {
        default: Action::Errno(libc::EPERM as u16),
        rules,
        log: false,
    }
}
