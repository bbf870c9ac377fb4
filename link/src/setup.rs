//! What rumqttc is told for one connection attempt.

use std::sync::Arc;

use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, LastWill};
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};

use crate::options::{BrokerUrl, INFLIGHT_MAX, Options, PACKET_MAX};

/// What of the broker's session to take up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resume {
    /// The session: the normal case.
    Session,
    /// Nothing: an oversize message is queued in the session and would end every connection.
    Retained,
    /// Nothing, and no retained messages: the oversize message is retained.
    Nothing,
}

impl Resume {
    pub(crate) fn after(oversize_in_a_row: u32) -> Resume {
        match oversize_in_a_row {
            0 => Resume::Session,
            1 => Resume::Retained,
            _ => Resume::Nothing,
        }
    }
}

/// The options of one connection attempt.
pub(crate) fn mqtt_options(options: &Options, url: &BrokerUrl, resume: Resume) -> MqttOptions {
    let mut mqtt = MqttOptions::new(&options.client_id, &url.host, url.port);
    if url.tls
        && let Some(tls) = &options.tls
    {
        mqtt.set_transport(Transport::Tls(TlsConfiguration::Rustls(Arc::clone(tls))));
    }
    if let Some((user, password)) = &options.credentials {
        mqtt.set_credentials(user, password);
    }
    if let Some(will) = options.will.as_ref().map(|source| source.make()) {
        let payload = will.payload.to_vec();
        mqtt.set_last_will(LastWill::new(
            will.topic,
            payload,
            QoS::AtLeastOnce,
            will.retain,
            None,
        ));
    }
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval =
        Some(u32::try_from(options.session_expiry.as_secs()).unwrap_or(u32::MAX));
    properties.receive_maximum = Some(INFLIGHT_MAX);
    properties.max_packet_size = Some(PACKET_MAX);
    properties.topic_alias_max = Some(0);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    mqtt.set_connect_properties(properties)
        .set_outgoing_inflight_upper_limit(INFLIGHT_MAX)
        .set_keep_alive(options.effective_keep_alive())
        // A session opened with a clean start is not restored by every broker, so never one,
        // except to get rid of a poisoned session.
        .set_clean_start(resume != Resume::Session)
        .set_connection_timeout(options.connect_timeout.as_secs().max(1))
        .set_network_options(network);
    mqtt
}
