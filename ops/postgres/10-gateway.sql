-- Run once, when the cluster is made: the gateway owns its database and is nothing more than that.
\set password `cat /run/secrets/database_password`
create role gateway login nosuperuser nocreatedb nocreaterole password :'password';
create database gateway owner gateway;
revoke connect on database gateway from public;
revoke connect on database postgres from public;
