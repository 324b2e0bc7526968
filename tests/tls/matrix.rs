//! The certificates that are wrong: each is refused, by the side that looks at it, with a sentence of
//! its own that names the certificate, the reason and the repair.

use std::collections::HashMap;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, NameConstraints, date_time_ymd,
};
use rpc_core::transport::ConnectOptions;
use rpc_core::{ClientTls, Code, ServerTls};
use support::certs::{Authority, Issued, as_it_is};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, RootCertStore};

use crate::odd::{first_only, of_unknown_algorithm, self_signed};
use crate::pair::{client, meet, server, with_client, with_server};

const ID: &str = "spiffe://tests/calc";

/// One wrong thing, and the words that must be in the sentences about it.
struct Case {
    what: &'static str,
    server: ServerTls,
    client: ConnectOptions,
    host: &'static str,
    /// What the client says.
    client_says: &'static [&'static str],
    /// What the server says.
    server_says: &'static [&'static str],
}

fn cases() -> Vec<Case> {
    let root = Authority::new("Root");
    let other = Authority::new("Other");
    let trusting = |tls: ClientTls| ConnectOptions::new().tls(tls);
    let at_localhost = |issued: &Issued, client_says, server_says, what| Case {
        what,
        server: server(issued),
        client: trusting(client(&root.pem())),
        host: "localhost",
        client_says,
        server_says,
    };
    let of_server = |change: &dyn Fn(&mut CertificateParams)| root.server(&["localhost"], change);

    let mut cases = vec![
        at_localhost(
            &of_server(&|params| params.not_after = date_time_ymd(2024, 1, 1)),
            &[
                "server's certificate dns:localhost (CN=localhost) expired at 2024-01-01 00:00:00 UTC",
                "renew it",
            ],
            &["client says that this server's certificate dns:localhost (CN=localhost) is expired"],
            "the server's certificate has expired",
        ),
        at_localhost(
            &of_server(&|params| params.not_before = date_time_ymd(2999, 1, 1)),
            &[
                "dns:localhost (CN=localhost) is not valid before 2999-01-01",
                "set the clock",
            ],
            &["is expired or not valid yet"],
            "the server's certificate is not valid yet",
        ),
        at_localhost(
            &root.server(&["calc.example"], as_it_is),
            &[
                "dns:calc.example (CN=calc.example) is for calc.example, and `localhost` was dialled",
                "ClientTls::server_name",
            ],
            &["client refuses this server's certificate dns:calc.example"],
            "the server's certificate is for another host",
        ),
        at_localhost(
            &other.server(&["localhost"], as_it_is),
            &[
                "dns:localhost (CN=localhost) comes from `CN=Other`, of whom",
                "trusted here: CN=Root",
            ],
            &["client does not trust the issuer of this server's certificate dns:localhost"],
            "the server's certificate is of another authority",
        ),
        at_localhost(
            &self_signed("localhost"),
            &["dns:localhost (CN=localhost) is signed by itself"],
            &["does not trust the issuer"],
            "the server has signed its certificate itself",
        ),
        at_localhost(
            &first_only(
                &root
                    .below("Middle", as_it_is)
                    .server(&["localhost"], as_it_is),
            ),
            &[
                "comes from `CN=Middle`, of whom",
                "the intermediate certificates behind its own",
            ],
            &["does not trust the issuer"],
            "the server does not send its intermediate certificate",
        ),
        at_localhost(
            &of_server(&|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
            &[
                "dns:localhost (CN=localhost) is not meant for a server",
                "serverAuth",
            ],
            &[
                "client does not take this server's certificate dns:localhost (CN=localhost) for a server",
            ],
            "the server's certificate is one for clients",
        ),
        at_localhost(
            &of_server(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            &["dns:localhost (CN=localhost) is that of a certificate authority"],
            &[],
            "the server's certificate is that of an authority",
        ),
        at_localhost(
            &root
                .below("Constrained", |params| {
                    params.name_constraints = Some(NameConstraints {
                        permitted_subtrees: vec![GeneralSubtree::DnsName("example".into())],
                        excluded_subtrees: Vec::new(),
                    });
                })
                .server(&["localhost"], as_it_is),
            &[
                "has a name for which an authority above it must not issue",
                "name constraints",
            ],
            &[],
            "an authority has issued for a name that it may not",
        ),
        at_localhost(
            &root
                .below("Short", |params| {
                    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
                })
                .below("Long", as_it_is)
                .server(&["localhost"], as_it_is),
            &["has more authorities above it than one of them allows"],
            &[],
            "the chain is longer than an authority in it allows",
        ),
        at_localhost(
            &root
                .below("Pretender", |params| params.is_ca = IsCa::ExplicitNoCa)
                .server(&["localhost"], as_it_is),
            &["comes from `CN=Pretender`, which is no certificate authority"],
            &[],
            "the issuer is no authority",
        ),
        at_localhost(
            &Authority::new("Root").server(&["localhost"], as_it_is),
            &[
                "bears a signature that is not of its issuer `CN=Root`",
                "forged",
            ],
            &[],
            "somebody else signed in the name of the authority",
        ),
        at_localhost(
            &of_unknown_algorithm(&root.server(&["localhost"], as_it_is)),
            &["is signed by an algorithm that is unknown here", "ECDSA"],
            &[],
            "the algorithm of the signature is unknown",
        ),
        at_localhost(
            &root
                .below("Novel", |params| {
                    let mut extension =
                        CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                    extension.set_criticality(true);
                    params.custom_extensions.push(extension);
                })
                .server(&["localhost"], as_it_is),
            &["has a critical extension, or one above it has, that is unknown here"],
            &[],
            "an extension is critical and unknown",
        ),
    ];

    let numbered =
        |number: u64| of_server(&move |params| params.serial_number = Some(number.into()));
    let revoking = |list: String| trusting(client(&root.pem()).revoked(list).unwrap());
    cases.push(Case {
        client: revoking(root.revocations(&[7], 2999)),
        ..at_localhost(
            &numbered(7),
            &["dns:localhost (CN=localhost) was revoked by its issuer", "have a new one issued"],
            &["client says that this server's certificate dns:localhost (CN=localhost) was revoked"],
            "the server's certificate was revoked",
        )
    });
    cases.push(Case {
        client: revoking(root.revocations(&[], 2024)),
        ..at_localhost(
            &numbered(8),
            &[
                "cannot be checked: the revocation list of its issuer was good until 2024-01-01",
                "`reload`",
            ],
            &[],
            "the revocation list is past its time",
        )
    });
    cases.push(Case {
        client: trusting(client(&root.pem())).expect_identity(ID),
        ..at_localhost(
            &root.workload("spiffe://tests/mail", as_it_is),
            &["spiffe://tests/calc must be there, and spiffe://tests/mail (CN=mail) is", "no call was sent"],
            &["client expects somebody else than this server's certificate spiffe://tests/mail (CN=mail)"],
            "the server is another service",
        )
    });
    cases.extend(of_clients(&root, &other));
    cases
}

/// What can be wrong with the certificate of a client.
fn of_clients(root: &Authority, other: &Authority) -> Vec<Case> {
    let asking = || {
        let issued = root.server(&["localhost"], as_it_is);
        server(&issued).client_ca(root.pem()).unwrap()
    };
    let showing = |own: &Issued| {
        let tls = client(&root.pem()).own(&own.chain, &own.key).unwrap();
        ConnectOptions::new().tls(tls)
    };
    let case = |own: &Issued, client_says, server_says, what| Case {
        what,
        server: asking(),
        client: showing(own),
        host: "localhost",
        client_says,
        server_says,
    };
    let of_client = |change: &dyn Fn(&mut CertificateParams)| root.workload(ID, change);
    vec![
        Case {
            client: ConnectOptions::new().tls(client(&root.pem())),
            ..case(
                &of_client(&|_| {}),
                &[
                    "server asks for a certificate, and this client has none",
                    "ClientTls::own",
                ],
                &["client has no certificate, and this server asks for one"],
                "the client has no certificate",
            )
        },
        case(
            &other.workload(ID, as_it_is),
            &[
                "server does not trust the issuer of this client's certificate spiffe://tests/calc (CN=calc)",
            ],
            &["client's certificate spiffe://tests/calc (CN=calc) comes from `CN=Other`"],
            "the client's certificate is of another authority",
        ),
        case(
            &of_client(&|params| params.not_after = date_time_ymd(2024, 1, 1)),
            &[
                "server says that this client's certificate spiffe://tests/calc (CN=calc) is expired",
            ],
            &["client's certificate spiffe://tests/calc (CN=calc) expired at 2024-01-01"],
            "the client's certificate has expired",
        ),
        case(
            &of_client(&|params| params.not_before = date_time_ymd(2999, 1, 1)),
            &["is expired or not valid yet"],
            &["client's certificate spiffe://tests/calc (CN=calc) is not valid before 2999-01-01"],
            "the client's certificate is not valid yet",
        ),
        case(
            &of_client(&|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
            &[
                "server does not take this client's certificate spiffe://tests/calc (CN=calc) for a client",
                "clientAuth",
            ],
            &["client's certificate spiffe://tests/calc (CN=calc) is not meant for a client"],
            "the client's certificate is one for servers",
        ),
        case(
            &self_signed("intruder"),
            &["does not trust the issuer of this client's certificate dns:intruder"],
            &["client's certificate dns:intruder (CN=intruder) is signed by itself"],
            "the client has signed its certificate itself",
        ),
        Case {
            server: asking().revoked(root.revocations(&[9], 2999)).unwrap(),
            ..case(
                &of_client(&|params| params.serial_number = Some(9.into())),
                &[
                    "server says that this client's certificate spiffe://tests/calc (CN=calc) was revoked",
                ],
                &["client's certificate spiffe://tests/calc (CN=calc) was revoked by its issuer"],
                "the client's certificate was revoked",
            )
        },
        Case {
            server: asking().revoked(root.revocations(&[], 2024)).unwrap(),
            ..case(
                &of_client(&|_| {}),
                &["server refuses this client's certificate spiffe://tests/calc"],
                &["client's certificate spiffe://tests/calc (CN=calc) cannot be checked"],
                "the revocation list of the clients is past its time",
            )
        },
    ]
}

#[tokio::test]
async fn row_52_each_fault_of_a_certificate_has_its_own_sentence() {
    let mut sentences = HashMap::new();
    let cases = cases();
    assert!(cases.len() >= 20, "only {} cases", cases.len());
    for case in cases {
        let (client, server) = meet(case.server, case.client, case.host).await;
        let client = client.expect_err(case.what);
        let server = server.expect_err(case.what);
        for (who, error, words) in [
            ("client", &client, case.client_says),
            ("server", &server, case.server_says),
        ] {
            println!("{}: the {who} says: {error}", case.what);
            let text = error.to_string();
            for word in words {
                assert!(text.contains(word), "{}: {who}: {word}: {text}", case.what);
            }
            assert!(
                matches!(error.code(), Code::Tls | Code::Unauthenticated),
                "{}: {who}: {error:?}",
                case.what
            );
        }
        // The side that looked at the certificate says something that no other case says.
        let decisive = if case.what.contains("client") {
            server
        } else {
            client
        };
        if let Some(before) = sentences.insert(decisive.message().to_owned(), case.what) {
            panic!("{before} and {} are told alike: {decisive}", case.what);
        }
    }
}

#[tokio::test]
async fn what_is_good_is_let_in() {
    let root = Authority::new("Root");
    let middle = root.below("Middle", as_it_is);
    let own = middle.workload(ID, as_it_is);
    let tls = server(&middle.server(&["localhost", "127.0.0.1"], as_it_is));
    let trusting = client(&root.pem());
    for host in ["localhost", "127.0.0.1"] {
        let asking = tls.clone().client_ca(root.pem()).unwrap();
        let asking = asking.revoked(root.revocations(&[1], 2999)).unwrap();
        let showing = trusting.clone().own(&own.chain, &own.key).unwrap();
        for (server, client) in [
            (tls.clone(), trusting.clone()),
            (tls.clone(), showing.clone()),
            (asking.clone(), showing.clone()),
            (asking.client_optional().unwrap(), trusting.clone()),
        ] {
            let (client, server) = meet(server, ConnectOptions::new().tls(client), host).await;
            client.unwrap();
            server.unwrap();
        }
    }
    // Another name than that of the host, and a host without any.
    let named = trusting.clone().server_name("calc.example").unwrap();
    let issued = root.server(&["calc.example"], as_it_is);
    let (client, _) = meet(
        server(&issued),
        ConnectOptions::new().tls(named),
        "127.0.0.1",
    )
    .await;
    client.unwrap();
    let expecting = ConnectOptions::new().tls(trusting).expect_identity(ID);
    let (client, _) = meet(server(&own), expecting, "127.0.0.1").await;
    client.unwrap();
}

#[tokio::test]
async fn row_52_nothing_older_than_tls_1_3_is_spoken() {
    let root = Authority::new("Root");
    let issued = root.server(&["localhost"], as_it_is);

    // A client that knows nothing newer than 1.2.
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(root.pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let old = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (_, server_says) = with_client(server(&issued), |stream| async {
        let name = "localhost".try_into().unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(old));
        connector.connect(name, stream).await.map(|_| ())
    })
    .await;
    let text = server_says.unwrap_err().to_string();
    assert!(
        text.contains("the client does not speak TLS 1.3; upgrade the client"),
        "{text}"
    );

    // A server that knows nothing newer.
    let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes());
    let old = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            chain.map(Result::unwrap).collect(),
            PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let error = with_server(client(&root.pem()), |stream| async {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(old));
        let _ = acceptor.accept(stream).await;
    })
    .await
    .unwrap_err();
    assert_eq!(error.code(), Code::Tls);
    let text = error.to_string();
    assert!(
        text.contains("the server does not speak TLS 1.3; upgrade the server"),
        "{text}"
    );
}
