//! A real RabbitMQ for the tests: Debian's package, in a temporary folder, on loopback and free ports.
//!
//! [`Node::shared`] is one node for the whole process; each test takes a virtual host of its own from it.
//! [`Node::rough`] is a second one for tests that kill, freeze or starve their broker, one test at a time. Both go away
//! with the process, however it ends (`guard.sh`). [`Client`] is a plain lapin client: upstream, to the courier.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tokio::sync::MutexGuard;
use tokio::time::{sleep, timeout};

/// Debian's, without the wrapper that changes the user.
const CTL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";
/// How many virtual hosts a node is born with; making one later takes a second.
const VHOSTS: usize = 64;
/// Long enough for a node to start on a busy machine.
const BOOT: Duration = Duration::from_secs(90);
/// Longer than anything healthy takes; tests wait for conditions, never for this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server that a shell script guards: it goes away with the tests, however they end.
pub(crate) struct Guarded {
    guard: Mutex<Child>,
    /// Where the script writes the server's process.
    pid: PathBuf,
}

impl Guarded {
    /// Starts the script, in a process group of its own; the server waits for [`Guarded::start`].
    pub(crate) fn by(script: &mut Command, pid: PathBuf) -> Self {
        let script = script.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Self { guard: Mutex::new(script.spawn().expect("a guard process")), pid }
    }

    /// Starts the server, without waiting for it.
    pub(crate) fn start(&self) {
        let mut guard = self.guard.lock().expect("not poisoned");
        writeln!(guard.stdin.as_mut().expect("piped"), "start").expect("a live guard");
    }

    /// Sends the server a signal; says whether there was one to get it.
    pub(crate) fn signal(&self, name: &str) -> bool {
        let Ok(pid) = std::fs::read_to_string(&self.pid) else { return false };
        let sent = Command::new("kill").args([&format!("-{name}"), pid.trim()]).stderr(Stdio::null()).status();
        sent.is_ok_and(|sent| sent.success())
    }
}

/// A RabbitMQ node.
pub(crate) struct Node {
    dir: PathBuf,
    port: u16,
    environment: Vec<(&'static str, String)>,
    taken: AtomicUsize,
    server: Guarded,
}

impl Node {
    /// The node that tests share. The first caller waits for it to start.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Node> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A node that its holder may maltreat. It is running again when the next test gets it.
    pub(crate) async fn rough() -> MutexGuard<'static, Self> {
        static ROUGH: OnceLock<tokio::sync::Mutex<Node>> = OnceLock::new();
        let node = ROUGH.get_or_init(|| tokio::sync::Mutex::new(Self::start())).lock().await;
        node.thaw();
        if !node.is_listening() {
            node.restart();
        }
        node.ready().await;
        node
    }

    /// Starts a node and waits until it can be used.
    pub(crate) fn start() -> Self {
        assert!(Path::new(CTL).exists(), "these tests need RabbitMQ: apt-get install rabbitmq-server");
        let dir = tempfile::Builder::new().prefix("rabbit-").tempdir().expect("a temporary folder").keep();
        let [port, dist, epmd] = free_ports();
        prepare(&dir, port);
        let environment = environment(&dir, port, dist, epmd);
        let server = Guarded::by(
            Command::new("sh")
                .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/guard.sh"))
                .envs(environment.iter().map(|(name, value)| (name, value))),
            dir.join("pid"),
        );
        let node = Self { dir, port, environment, taken: AtomicUsize::new(0), server };
        node.restart();
        node.wait_for_port();
        node
    }

    /// A virtual host that no other test has.
    pub(crate) fn vhost(&self) -> String {
        let number = self.taken.fetch_add(1, Ordering::SeqCst);
        let name = format!("v{number}");
        if number >= VHOSTS {
            self.ctl(&["add_vhost", &name]);
            self.ctl(&["set_permissions", "-p", &name, "guest", ".*", ".*", ".*"]);
        }
        name
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The address of a virtual host.
    pub(crate) fn url(&self, vhost: &str) -> String {
        self.url_as("guest:guest", vhost)
    }

    /// The address of a virtual host for somebody else. `nobody:nobody` exists and has no permission.
    pub(crate) fn url_as(&self, credentials: &str, vhost: &str) -> String {
        format!("amqp://{credentials}@127.0.0.1:{}/{vhost}", self.port)
    }

    /// Runs `rabbitmqctl`, which takes a second or two.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        let done = Command::new(CTL)
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .output()
            .expect("rabbitmqctl");
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// Turns the memory alarm on or off, which stops the broker from taking publications.
    pub(crate) fn alarm(&self, on: bool) {
        self.ctl(&["set_vm_memory_high_watermark", if on { "0.00001" } else { "0.4" }]);
    }

    /// Kills the broker without a farewell.
    pub(crate) fn kill9(&self) {
        let _gone = self.server.signal("KILL");
        while self.is_listening() {
            std::thread::yield_now();
        }
    }

    /// Stops the broker in its tracks; its sockets stay open.
    pub(crate) fn freeze(&self) {
        let _gone = self.server.signal("STOP");
    }

    /// Lets a frozen broker go on.
    pub(crate) fn thaw(&self) {
        let _gone = self.server.signal("CONT");
    }

    /// Starts the broker again after [`Node::kill9`], without waiting for it.
    pub(crate) fn restart(&self) {
        self.server.start();
    }

    /// Waits for the port to open, and no longer.
    pub(crate) async fn port_opens(&self) {
        timeout(BOOT, async {
            while !self.is_listening() {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .expect("the broker starts");
    }

    /// Waits until the broker takes connections.
    pub(crate) async fn ready(&self) {
        self.port_opens().await;
        eventually("the broker takes connections", async || {
            Connection::connect(&self.url("v0"), ConnectionProperties::default()).await.ok()
        })
        .await;
    }

    fn is_listening(&self) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
    }

    fn wait_for_port(&self) {
        for _ in 0..BOOT.as_millis() / 20 {
            if self.is_listening() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = std::fs::read_to_string(self.dir.join("log/stdout")).unwrap_or_default();
        panic!("the broker did not start: {log}");
    }
}

/// Ports that nobody listens on.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let held = std::array::from_fn::<_, N, _>(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    held.map(|listener| listener.local_addr().expect("bound").port())
}

fn prepare(dir: &Path, port: u16) {
    for folder in ["home", "mnesia", "log"] {
        std::fs::create_dir(dir.join(folder)).expect("writable");
    }
    let conf = format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\n\
         disk_free_limit.absolute = 16MB\n\
         log.file.level = warning\n\
         load_definitions = {}\n",
        dir.join("definitions.json").display()
    );
    let files = [
        ("rabbitmq.conf", conf),
        ("definitions.json", definitions()),
        ("plugins", "[].".into()),
        ("env.conf", String::new()),
    ];
    for (file, text) in files {
        std::fs::write(dir.join(file), text).expect("writable");
    }
}

fn definitions() -> String {
    let (mut vhosts, mut permissions) = (String::new(), String::new());
    for number in 0..VHOSTS {
        let comma = if number == 0 { "" } else { "," };
        write!(vhosts, r#"{comma}{{"name":"v{number}"}}"#).expect("memory");
        write!(
            permissions,
            r#"{comma}{{"user":"guest","vhost":"v{number}","configure":".*","write":".*","read":".*"}}"#
        )
        .expect("memory");
    }
    let user = |name| format!(r#"{{"name":"{name}","password":"{name}","tags":""}}"#);
    let users = [user("guest"), user("nobody")].join(",");
    format!(r#"{{"users":[{users}],"vhosts":[{vhosts}],"permissions":[{permissions}]}}"#)
}

fn environment(dir: &Path, port: u16, dist: u16, epmd: u16) -> Vec<(&'static str, String)> {
    let file = |name: &str| dir.join(name).display().to_string();
    vec![
        ("NODE_DIR", dir.display().to_string()),
        ("HOME", file("home")),
        ("ERL_EPMD_PORT", epmd.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
        ("RABBITMQ_NODENAME", format!("t{port}@localhost")),
        ("RABBITMQ_NODE_PORT", port.to_string()),
        ("RABBITMQ_DIST_PORT", dist.to_string()),
        ("RABBITMQ_MNESIA_BASE", file("mnesia")),
        ("RABBITMQ_LOG_BASE", file("log")),
        ("RABBITMQ_CONF_ENV_FILE", file("env.conf")),
        ("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf")),
        ("RABBITMQ_PID_FILE", file("pid")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", file("plugins")),
        ("RABBITMQ_CTL_ERL_ARGS", "+S 1:1".into()),
        (
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none".into(),
        ),
    ]
}

/// Waits for a condition.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// A plain client on one virtual host.
pub(crate) struct Client {
    pub(crate) connection: Connection,
    pub(crate) channel: Channel,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("a broker");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        Self { connection, channel }
    }

    /// Publishes anything and waits for the confirm. Not mandatory.
    pub(crate) async fn publish(&self, exchange: &str, key: &str, properties: BasicProperties, body: &[u8]) {
        let options = BasicPublishOptions::default();
        let confirm = self.channel.basic_publish(exchange.into(), key.into(), options, body, properties).await;
        let confirmation = confirm.expect("sent").await.expect("confirmed");
        assert_eq!(confirmation, Confirmation::Ack(None));
    }

    /// Publishes a challenge as upstream does, under the default names.
    pub(crate) async fn publish_challenge(&self, body: &str) {
        self.publish("mfa.challenges", "challenge.requested", persistent(), body.as_bytes()).await;
    }

    /// Binds a new queue to some of the outcomes; [`Client::collect`] reads it.
    pub(crate) async fn outcomes_queue(&self, name: &str, binding: &str) {
        self.classic_queue(name).await;
        let options = QueueBindOptions::default();
        let bound =
            self.channel.queue_bind(name.into(), "mfa.outcomes".into(), binding.into(), options, FieldTable::default());
        bound.await.expect("bound");
    }

    /// Declares a durable classic queue.
    pub(crate) async fn classic_queue(&self, name: &str) {
        let declared = self.channel.queue_declare(name.into(), QueueDeclareOptions::durable(), FieldTable::default());
        declared.await.expect("declared");
    }

    /// Waits for `count` messages of a queue, and takes them.
    pub(crate) async fn collect(&self, queue: &str, count: usize) -> Vec<Delivery> {
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let consumer = self.channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let messages = consumer.await.expect("a consumer").take(count).map(|message| message.expect("a message"));
        timeout(PATIENCE, messages.collect()).await.unwrap_or_else(|_| panic!("{count} messages in {queue}"))
    }

    /// Waits for the outcomes in a queue, as JSON.
    pub(crate) async fn collect_outcomes(&self, queue: &str, count: usize) -> Vec<serde_json::Value> {
        let outcomes = self.collect(queue, count).await;
        outcomes.iter().map(|outcome| serde_json::from_slice(&outcome.data).expect("JSON")).collect()
    }

    /// How many messages wait in a queue; none where there is no such queue.
    pub(crate) async fn queue_depth(&self, queue: &str) -> Option<u32> {
        let channel = self.connection.create_channel().await.ok()?;
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let found = channel.queue_declare(queue.into(), passive, FieldTable::default()).await.ok()?;
        Some(found.message_count())
    }

    /// Waits until a queue holds so many messages.
    pub(crate) async fn depth_becomes(&self, queue: &str, depth: u32) {
        let what = format!("{queue} holds {depth}");
        eventually(&what, async || (self.queue_depth(queue).await == Some(depth)).then_some(())).await;
    }
}

/// The properties of a persistent message.
pub(crate) fn persistent() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2)
}

/// A table of headers or arguments.
pub(crate) fn table<const N: usize>(fields: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in fields {
        table.insert(name.into(), value);
    }
    table
}
