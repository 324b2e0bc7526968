//! The contract that the calculator examples share, and one implementation of it.

use std::error::Error;
use std::fmt;

use rpc_core::service;
use serde::{Deserialize, Serialize};

/// Integer and real arithmetic.
#[service(version = "1.2.0")]
pub trait Calculator {
    /// Adds two numbers.
    async fn add(&self, a: i64, b: i64) -> i64;

    /// Divides `a` by `b`.
    async fn divide(&self, a: f64, b: f64) -> Result<f64, MathError>;

    /// Reads a number; the text is borrowed from the request.
    async fn parse(&self, text: &str) -> Result<f64, MathError>;

    /// A number with a name. Asking twice does no harm, so the call may be repeated.
    #[rpc(idempotent)]
    async fn constant(&self, name: &str) -> Option<f64>;
}

/// What a calculator can object to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MathError {
    /// The divisor is zero.
    DivisionByZero,
    /// The text is not a number.
    NotANumber(String),
}

impl fmt::Display for MathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DivisionByZero => f.write_str("division by zero"),
            Self::NotANumber(text) => write!(f, "\"{text}\" is not a number"),
        }
    }
}

impl Error for MathError {}

/// A calculator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calc;

impl Calculator for Calc {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }

    async fn divide(&self, a: f64, b: f64) -> Result<f64, MathError> {
        if b == 0.0 {
            Err(MathError::DivisionByZero)
        } else {
            Ok(a / b)
        }
    }

    async fn parse(&self, text: &str) -> Result<f64, MathError> {
        text.trim()
            .parse()
            .map_err(|_| MathError::NotANumber(text.to_owned()))
    }

    async fn constant(&self, name: &str) -> Option<f64> {
        match name {
            "pi" => Some(std::f64::consts::PI),
            "e" => Some(std::f64::consts::E),
            _ => None,
        }
    }
}
