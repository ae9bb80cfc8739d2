//! Commands by what is done with them.

use super::*;

fn class(line: &str) -> Class {
    let allowed = vec!["CONFIG SET".to_owned()];
    Classes::unknown(allowed).of(&Command::of_line(line))
}

#[test]
fn what_is_shared_is_not_changed() {
    for line in [
        "SELECT 1",
        "client reply off",
        "Hello 3",
        "multi",
        "subscribe a",
        "MONITOR",
        "SYNC",
        "post /",
        "Host: x",
        "WAIT 1 0",
        "client reply\0x off",
        "select\0 1",
        "gét a",
    ] {
        assert!(matches!(class(line), Class::Refused(_)), "{line}");
    }
    for line in [
        "CLIENT LIST",
        "client id",
        "SCRIPT LOAD x",
        "GET a",
        "PUBLISH a b",
        "no-such-command",
    ] {
        let class = class(line);
        assert!(matches!(class, Class::Pooled | Class::Guarded), "{line}");
    }
}

#[test]
fn what_is_dangerous_has_to_be_allowed() {
    assert!(matches!(class("SHUTDOWN NOSAVE"), Class::Refused(_)));
    assert!(matches!(class("config rewrite"), Class::Refused(_)));
    assert!(matches!(class("Cluster Forget x"), Class::Refused(_)));
    assert!(matches!(class("MIGRATE h 1 k 0 1"), Class::Refused(_)));
    assert!(matches!(class("pfselftest"), Class::Refused(_)));
    assert!(matches!(class("search.clusterset x"), Class::Refused(_)));
    assert!(matches!(class("ft.config set x y"), Class::Refused(_)));
    assert_eq!(class("ft.config get x"), Class::Pooled);
    assert_eq!(class("CLUSTER SLOTS"), Class::Pooled);
    assert_eq!(class("client setinfo LIB-NAME x"), Class::Local);
    assert_eq!(class("config set maxmemory 1"), Class::Pooled);
    assert_eq!(class("config resetstat"), Class::Pooled);
    let Class::Refused(refusal) = class("restore k 0 x") else {
        panic!("it is sent");
    };
    assert!(
        refusal
            .to_string()
            .ends_with("(--allow-command 'RESTORE' allows it)")
    );
}

#[test]
fn what_blocks_has_its_own_connection() {
    for line in [
        "blpop a 1",
        "XREAD BLOCK 0 STREAMS a $",
        "xread block\0x 0 streams a $",
        "XREADGROUP GROUP streams block BLOCK 0 STREAMS a >",
        "xreadgroup group g c block 1 streams a >",
        "script kill",
        "FUNCTION KILL",
    ] {
        assert_eq!(class(line), Class::Blocking, "{line}");
    }
    assert_eq!(class("XREAD COUNT 1 STREAMS block 0"), Class::Pooled);
    assert_eq!(class("XREADGROUP GROUP g block STREAMS a >"), Class::Pooled);
}

#[test]
fn scripts_share_a_connection_with_their_likes() {
    for line in ["eval x 0", "fcall f 0", "SCRIPT LOAD x"] {
        assert_eq!(class(line), Class::Guarded, "{line}");
    }
    for line in ["xpending é g", "no-such-command é", "mod.x é"] {
        assert_eq!(class(line), Class::Pooled, "{line}");
    }
}

#[test]
fn what_is_listed_is_so_whatever_the_servers_table_says() {
    let lines = [
        "select 1",
        "exec",
        "monitor",
        "client reply off",
        "client id",
        "shutdown",
        "config get x",
        "eval x 0",
        "script kill",
        "blpop a 1",
        "xread block 0 streams a $",
        "xread streams a 0",
        "client setinfo lib-name x",
        "get a",
    ];
    let entry = |line: &&str| {
        let name = line
            .split(' ')
            .next()
            .map(str::to_owned)
            .unwrap_or_default();
        Reply::Array(vec![
            Reply::Bulk(name.into()),
            Reply::Int(2),
            Reply::Array(Vec::new()),
        ])
    };
    let table = Reply::Array(lines.iter().map(entry).collect());
    let classes = Classes::from_reply(&table, Vec::new());
    let unknown = Classes::unknown(Vec::new());
    for line in lines {
        assert_eq!(
            classes.of(&Command::of_line(line)),
            unknown.of(&Command::of_line(line)),
            "{line}"
        );
    }
}

#[test]
fn the_servers_own_table_counts() {
    let entry = |name: &'static str, flag: &'static str| {
        let flags = Reply::Array(vec![Reply::Status(flag.into())]);
        Reply::Array(vec![Reply::Bulk(name.into()), Reply::Int(2), flags])
    };
    let mut container = vec![Reply::Nil; 9];
    container[0] = Reply::Bulk("object".into());
    container[2] = Reply::Array(Vec::new());
    container.push(Reply::Array(vec![entry("object|encoding", "readonly")]));
    let container = Reply::Array(container);
    let table = Reply::Array(vec![
        entry("mod.take", "blocking"),
        entry("mod.look", "readonly"),
        entry("memory", "readonly"),
        container,
    ]);
    let classes = Classes::from_reply(&table, Vec::new());
    let command = Command::from_parts(vec!["MOD.TAKE".into()]).expect("a name");
    assert_eq!(classes.of(&command), Class::Blocking);
    let reads = |line: &str| classes.reads(&Command::of_line(line));
    assert_eq!(reads("MOD.LOOK a"), Some(true));
    assert_eq!(reads("MOD.TAKE"), Some(false));
    assert_eq!(reads("MEMORY PURGE"), Some(false));
    assert_eq!(reads("GET a"), None);
    assert_eq!(reads("object encoding a"), Some(true));
    assert_eq!(reads("object forget"), Some(false));
    assert!(classes.lacks("SSUBSCRIBE") && !classes.lacks("MOD.LOOK"));
    assert!(!Classes::unknown(Vec::new()).lacks("SSUBSCRIBE"));
}
